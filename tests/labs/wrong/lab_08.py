"Lab 8: what students write, and what they should be told."

CURVE = """def deletion_curve(score, image, map, blank, steps=10):
    order = map.flatten().argsort(descending={descending})
    pictures = []
    for k in range({first}, steps + 1):
        seen = torch.ones(len(order), dtype=torch.bool)
        seen[order[: round(k * len(order) / steps)]] = False
        pictures.append(torch.where({seen}.view(map.shape), image, {blank}))
    return {answer}"""
RIGHT = dict(descending=True, first=0, seen="seen", blank="blank", answer="score(torch.stack(pictures))")

INTERVAL = """def paired_interval(a, b, draws=2000, seed=0):
    random = np.random.RandomState(seed)
    {lines}
    return (a - b).mean(), *np.quantile(means, [0.025, 0.975])"""


def curve(**other):
    return CURVE.format(**RIGHT | other)


def interval(lines):
    return INTERVAL.format(lines=lines)


WRONG = {
    "hits": [
        (
            "takes the corner of the position",
            "def hits(map, mask):\n"
            "    y, x = divmod(int(map.argmax()), map.shape[1])\n"
            "    return mask[y * mask.shape[0] // map.shape[0], x * mask.shape[1] // map.shape[1]]",
            r"\(1 \+ 1/2\)",
        ),
        (
            "asks whether any pixel of the square is on the mask",
            "def hits(map, mask):\n"
            "    (h, w), (H, W) = map.shape, mask.shape\n"
            "    y, x = divmod(int(map.argmax()), w)\n"
            "    return mask[y * H // h : (y + 1) * H // h, x * W // w : (x + 1) * W // w].any()",
            "one pixel counts, not its square",
        ),
        (
            "forgets the flat map",
            "def hits(map, mask):\n"
            "    (h, w), (H, W) = map.shape, mask.shape\n"
            "    y, x = divmod(int(map.argmax()), w)\n"
            "    return mask[int((y + 0.5) * H / h), int((x + 0.5) * W / w)]",
            "a flat map has no peak",
        ),
        (
            "counts rows of h positions",
            "def hits(map, mask):\n"
            "    (h, w), (H, W) = map.shape, mask.shape\n"
            "    y, x = divmod(int(map.argmax()), h)\n"
            "    inside = mask[min(int((y + 0.5) * H / h), H - 1), min(int((x + 0.5) * W / w), W - 1)]\n"
            "    return map.max() > map.min() and inside",
            "a row has w positions",
        ),
        (
            "takes the image for square",
            "def hits(map, mask):\n"
            "    if map.max() == map.min():\n"
            "        return False\n"
            "    size, step = map.shape[0], mask.shape[0] / map.shape[0]\n"
            "    y, x = divmod(int(map.argmax()), size)\n"
            "    return mask[int((y + 0.5) * step), int((x + 0.5) * step)]",
            "rows go with H, columns with W",
        ),
    ],
    "centre_share": [
        ("is a percentage", "centre_share = 60", "only lie between 0 and 1"),
        ("is a text", "centre_share = '24 of 40'", "expected a number from 0 to 1"),
    ],
    "deletion_curve": [
        ("hides the least important first", curve(descending=False), "hide the highest first"),
        ("shows in place of hiding", curve(seen="(~seen)"), "hide the highest first"),
        ("forgets one end", curve(first=1), r"shape \(4,\); expected \(5,\)[^$]*both ends"),
        ("hides by black", curve(blank="torch.zeros_like(image)"), "comes from blank, not from zeros"),
        ("asks about one picture", curve(answer="score(pictures[-1])"), "raised IndexError"),
        ("returns pictures", curve(answer="torch.stack(pictures)"), r"shape \(5, 3, 4, 4\); expected \(5,\)"),
    ],
    "area": [
        ("takes the mean", "def area(curve):\n    return curve.mean()", "half of the first quarter"),
        (
            "forgets the width of a step",
            "def area(curve):\n    return torch.trapezoid(curve)",
            "first quarter",
        ),
        (
            "divides by the number of points",
            "def area(curve):\n    return torch.trapezoid(curve, dx=1 / len(curve))",
            "first quarter",
        ),
    ],
    "turned": [
        (
            "names the stand-ins the other way round",
            'turned = (7, "blur", "zero")',
            "First the stand-in that",
        ),
        ("has no bird", 'turned = ("zero", "blur")', "names a bird and two stand-ins"),
        ("begins with a stand-in", 'turned = ("zero", "blur", 7)', "the number first"),
        ("calls a stand-in otherwise", 'turned = (7, "grey", "blur")', "two of blur, mean, zero, inpaint"),
        ("is a list of areas", "turned = [0.04, 0.2]", "expected tuple"),
        ("finds no turn", 'turned = (4, "zero", "inpaint")', "with inpaint evidence has"),
    ],
    "best": [
        ("has a name that is none", 'best = "INTR"\nbehind = 1', "one of the words 'evidence', 'contrast'"),
        ("counts more controls than there are", 'best = "RISE"\nbehind = 5', "only lie between 0 and 4"),
        ("predicts one thing only", 'best = "RISE"\nbehind = ...', "behind is still"),
        ("writes a name otherwise", 'best = "GradCAM"\nbehind = 1', "did you mean 'Grad-CAM'"),
    ],
    "paired_interval": [
        (
            "draws a and b apart",
            interval(
                "means = (random.choice(a, (draws, len(a))) - random.choice(b, (draws, len(b)))).mean(1)"
            ),
            "not a and b apart",
        ),
        ("takes single birds", interval("means = a - b"), "not of single birds"),
        (
            "draws without replacement",
            interval("means = [random.permutation(a - b).mean() for _ in range(draws)]"),
            "with replacement",
        ),
        (
            "returns the mean alone",
            "def paired_interval(a, b, draws=2000, seed=0):\n    return (a - b).mean()",
            r"shape \(\); expected \(3,\)",
        ),
        (
            "returns the ends as an array",
            "def paired_interval(a, b, draws=2000, seed=0):\n"
            "    return (a - b).mean(), np.quantile(a - b, [0.025, 0.975])",
            "takes both ends out",
        ),
        (
            "takes the means over draws",
            interval("means = (a - b)[random.randint(len(a), size=(draws, len(a)))].mean(0)"),
            "of 2,000 means",
        ),
        (
            "subtracts the wrong way",
            interval("means = (b - a)[random.randint(len(a), size=(draws, len(a)))].mean(1)"),
            "a is 0.1 higher",
        ),
    ],
    "favours": [
        ("is no word of the list", 'favours = "one block"', "one of the words 'quality', 'own', 'nobody'"),
        ("is a number", "favours = 1", "one of the words 'quality'"),
    ],
}
