"Lab 9: what students write, and what they should be told."

EFFECTS = """def effects(model, image, c, over):
    def margin_now():
        with torch.no_grad():
            logits = model(image[None]).logits[0]
        return {margin}

    whole, lost = margin_now(), torch.zeros({shape})
    for layer in range(model.num_layers):
        for head in range(model.num_heads):
            with intervene(model, heads=[(layer, head)]{how}):
                lost[layer, head] = {lost}
    return lost"""
RIGHT = dict(
    margin="logits[c] - logits[over]",
    shape="model.num_layers, model.num_heads",
    how="",
    lost="whole - margin_now()",
)


def effects(**other):
    return EFFECTS.format(**RIGHT | other)


WRONG = {
    "share_out": [
        (
            "norms each part by itself",
            "def share_out(parts):\n"
            "    centred = parts - parts.mean(1, keepdim=True)\n"
            "    return centred / centred.std(1, keepdim=True, unbiased=False)",
            "sigma of the whole",
        ),
        (
            "divides by D - 1",
            "def share_out(parts):\n    return (parts - parts.mean(1, keepdim=True)) / parts.sum(0).std()",
            "unbiased=False",
        ),
        (
            "forgets the mean",
            "def share_out(parts):\n    return parts / parts.sum(0).std(unbiased=False)",
            "minus its own mean",
        ),
        (
            "returns the norm of the sum",
            "def share_out(parts):\n    x = parts.sum(0)\n    return (x - x.mean()) / x.std(unbiased=False)",
            r"shape \(2,\); expected \(2, 2\)",
        ),
        (
            'takes the variance',
            (
                'def share_out(parts):\n'
                '    return (parts - parts.mean(1, keepdim=True)) / parts.sum(0).var(unbiased=False)'
            ),
            'sigma of the whole',
        ),
        (
            'takes the mean over parts',
            ('def share_out(parts):\n    return (parts - parts.mean(0)) / parts.sum(0).std(unbiased=False)'),
            'minus its own mean',
        ),
    ],
    "lost": [
        ("is a list", "lost = [0.25, -0.25]", "expected a number from -2 to 2"),
        ("is a percentage", "lost = 25", "only lie between -2 and 2"),
    ],
    "rebuilt": [
        (
            "forgets the groups",
            "def rebuilt(maps, groups):\n    return maps.sum((0, 1, 3, 4))",
            "every entry of every group",
        ),
        (
            "adds up the classes, too",
            "def rebuilt(maps, groups):\n"
            "    return maps.sum() + sum(v.sum() for g in groups.values() for v in g.values())",
            "a number for each class",
        ),
        (
            "takes the first entry of each group",
            "def rebuilt(maps, groups):\n"
            "    return maps.sum((0, 1, 3, 4)) + sum(next(iter(g.values())) for g in groups.values())",
            "every entry of every group",
        ),
        (
            "takes the last layer alone",
            "def rebuilt(maps, groups):\n"
            "    return maps[-1].sum((0, 2, 3)) + sum(v for g in groups.values() for v in g.values())",
            r"2 \+ 1 - 1",
        ),
        (
            "sums dicts",
            "def rebuilt(maps, groups):\n    return maps.sum((0, 1, 3, 4)) + sum(groups.values())",
            "raised TypeError",
        ),
        (
            'forgets the maps',
            (
                'def rebuilt(maps, groups):\n'
                '    return sum(given for group in groups.values() for given in group.values())'
            ),
            "the toy's two logits",
        ),
        (
            'takes the mean over heads',
            (
                'def rebuilt(maps, groups):\n'
                '    others = [given for group in groups.values() for given in group.values()]\n'
                '    return maps.mean(1).sum((0, 2, 3)) + sum(others)'
            ),
            "all layers and all heads",
        ),
    ],
    "share": [
        (
            "takes the absolute value of sums",
            "def share(some, others):\n"
            "    a, b = some.sum(), others.sum()\n"
            "    return a / (a + b), a.abs() / (a.abs() + b.abs())",
            "part by part, before",
        ),
        (
            "divides by the others",
            "def share(some, others):\n"
            "    return some.sum() / others.sum(), some.abs().sum() / others.abs().sum()",
            r"\+10 beside -9",
        ),
        (
            "returns one share",
            "def share(some, others):\n    return some.abs().sum() / (some.abs().sum() + others.abs().sum())",
            r"shape \(\); expected \(2,\)",
        ),
        (
            'returns them the other way round',
            (
                'def share(some, others):\n'
                '    size = some.abs().sum() / (some.abs().sum() + others.abs().sum())\n'
                '    return size, some.sum() / (some.sum() + others.sum())'
            ),
            'first the share of the sum',
        ),
        (
            'takes means',
            (
                'def share(some, others):\n'
                '    a, b, c, d = some.mean(), others.mean(), some.abs().mean(), others.abs().mean()\n'
                '    return a / (a + b), c / (c + d)'
            ),
            'before they are added',
        ),
    ],
    "carried": [
        ("is a percentage", "carried = 75", "only lie between 0 and 1"),
        ("is a text", "carried = 'most'", "expected a number"),
    ],
    "decider": [
        ("takes the darkest for the most", "darkest, most, decider = 4, 4, (0, 7)", r"head 4 gave \+3"),
        ("looks at the last layer alone", "darkest, most, decider = 4, 7, (1, 4)", "Are all layers in view"),
        (
            "takes the numbers below the maps for attention",
            "darkest, most, decider = 7, 7, (0, 7)",
            "head 7 has 0.1",
        ),
        ("numbers all heads in a row", "darkest, most, decider = 4, 7, 7", "expected tuple"),
        ("swaps layer and head", "darkest, most, decider = 4, 7, (7, 0)", "a layer, 0 or 1"),
        ("answers a part", "darkest, most, decider = 4, ..., (0, 7)", "most is still"),
    ],
    "effects": [
        (
            "takes the logit for the margin",
            effects(margin="logits[c]"),
            "with all heads, minus the margin without",
        ),
        ("subtracts the wrong way", effects(lost="margin_now() - whole"), "with all heads, minus"),
        ("returns the margin that is left", effects(lost="margin_now()"), "with all heads, minus"),
        ("lets the head give nothing", effects(how=', to="zero"'), "looks everywhere alike"),
        ("counts on two layers", effects(shape="2, 8"), r"shape \(2, 8\); expected \(1, 8\)"),
        (
            "forgets the batch",
            "def effects(model, image, c, over):\n    return model(image).logits[c]",
            "raised",
        ),
    ],
    "agreement": [
        (
            "forgets the means",
            "def agreement(accounted, caused):\n"
            "    return (accounted * caused).sum() / (accounted.norm() * caused.norm())",
            "means come off first",
        ),
        (
            "forgets the lengths",
            "def agreement(accounted, caused):\n"
            "    return ((accounted - accounted.mean()) * (caused - caused.mean())).sum()",
            "divide by both lengths",
        ),
        (
            "returns the table",
            "def agreement(accounted, caused):\n    return torch.corrcoef(torch.stack([accounted, caused]))",
            r"shape \(2, 2\); expected \(\)",
        ),
        (
            'divides by the number',
            (
                'def agreement(accounted, caused):\n'
                '    return ((accounted - accounted.mean()) * (caused - caused.mean())).mean()'
            ),
            'divide by both lengths',
        ),
        (
            'forgets the sign',
            (
                'def agreement(accounted, caused):\n'
                '    return torch.corrcoef(torch.stack([accounted, caused]))[0, 1].abs()'
            ),
            'is 1; expected -1',
        ),
    ],
}
