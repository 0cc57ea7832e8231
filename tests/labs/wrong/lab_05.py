"Lab 5: what students write, and what they should be told."

WRONG = {
    "cosine_between": [
        (
            "counts each class with itself",
            "def cosine_between(alpha):\n"
            "    unit = F.normalize(alpha, dim=2)\n"
            "    return (unit @ unit.transpose(1, 2)).mean()",
            "leave out each class with itself",
        ),
        (
            "forgets the length",
            "def cosine_between(alpha):\n"
            "    table, C = alpha @ alpha.transpose(1, 2), alpha.shape[1]\n"
            "    return ((table.sum((1, 2)) - C) / (C * (C - 1))).mean()",
            "uniform maps.*[^$]*divide each map by its length",
        ),
        (
            "adds up the pairs",
            "def cosine_between(alpha):\n"
            "    unit = F.normalize(alpha, dim=2)\n"
            "    return (unit @ unit.transpose(1, 2)).sum() - alpha.shape[1]",
            "a mean over pairs, not a sum",
        ),
        (
            "returns a value for each head",
            "def cosine_between(alpha):\n"
            "    unit, C = F.normalize(alpha, dim=2), alpha.shape[1]\n"
            "    return ((unit @ unit.transpose(1, 2)).sum((1, 2)) - C) / (C * (C - 1))",
            r"has shape \(1,\); expected \(\)[^$]*take the mean",
        ),
        (
            "adds up the heads",
            "def cosine_between(alpha):\n"
            "    unit, C = F.normalize(alpha, dim=2), alpha.shape[1]\n"
            "    return ((unit @ unit.mT).sum() - C) / (C * (C - 1))",
            "two heads, one with 0 and one with 1[^$]*over the heads",
        ),
        (
            "takes the length over the classes",
            "def cosine_between(alpha):\n"
            "    unit, C = alpha / alpha.norm(dim=1, keepdim=True), alpha.shape[1]\n"
            "    return ((unit @ unit.mT).sum((1, 2)) - C).mean() / (C * (C - 1))",
            r"NaN[^$]*its own length \(dim=2\)",
        ),
        (
            "forgets keepdim",
            "def cosine_between(alpha):\n    unit = alpha / alpha.norm(dim=2)\n    return unit.mean()",
            "must match the size[^$]*keepdim",
        ),
    ],
    "matched": [
        (
            "trusts the seed",
            "def matched(seed):\n"
            "    torch.manual_seed(seed)\n"
            "    intr = OneBlockINTR(16, trunk)\n"
            "    torch.manual_seed(seed)\n"
            "    return intr, OneBlockINTR(16, trunk, fc=True)",
            "these differ: block.W_q.weight.*copy them",
        ),
        (
            "shares the modules",
            "def matched(seed):\n"
            "    torch.manual_seed(seed)\n"
            "    intr, fc = OneBlockINTR(16, trunk), OneBlockINTR(16, trunk, fc=True)\n"
            "    w, fc.block.queries = fc.block.w, intr.block.queries\n"
            "    for name in ('W_q', 'W_k', 'W_v', 'W_o'):\n"
            "        setattr(fc.block, name, getattr(intr.block, name))\n"
            "    return intr, fc",
            "would be trained twice",
        ),
        (
            "loads what does not fit",
            "def matched(seed):\n"
            "    torch.manual_seed(seed)\n"
            "    intr, fc = OneBlockINTR(16, trunk), OneBlockINTR(16, trunk, fc=True)\n"
            "    fc.load_state_dict(intr.state_dict(), strict=False)\n"
            "    return intr, fc",
            "size mismatch for block.w.weight[^$]*in the line: fc.load_state_dict",
        ),
        (
            "forgets the seed",
            "def matched(seed):\n    return my_unseeded()\n\n\n"
            "def my_unseeded():\n"
            "    intr, fc = OneBlockINTR(16, trunk), OneBlockINTR(16, trunk, fc=True)\n"
            "    w = fc.block.w.weight\n"
            "    fc.load_state_dict({**intr.state_dict(), 'block.w.weight': w})\n"
            "    return intr, fc",
            "the same seed gives the same start",
        ),
        (
            "keeps what load_state_dict returns",
            "def matched(seed):\n"
            "    intr, fc = my_unloaded(seed)\n"
            "    weights = {k: v for k, v in intr.state_dict().items() if k != 'block.w.weight'}\n"
            "    fc = fc.load_state_dict(weights, strict=False)\n"
            "    return intr, fc\n\n\n"
            "def my_unloaded(seed):\n"
            "    torch.manual_seed(seed)\n"
            "    return OneBlockINTR(16, trunk), OneBlockINTR(16, trunk, fc=True)",
            "two models[^$]*load_state_dict changes a model",
        ),
        (
            "has one seed for all",
            "def matched(seed):\n"
            "    torch.manual_seed(0)\n"
            "    intr, fc = OneBlockINTR(16, trunk), OneBlockINTR(16, trunk, fc=True)\n"
            "    weights = {k: v for k, v in intr.state_dict().items() if k != 'block.w.weight'}\n"
            "    fc.load_state_dict(weights, strict=False)\n"
            "    return intr, fc",
            "another seed gives another start[^$]*not of a fixed number",
        ),
        (
            "has them the wrong way round",
            "def matched(seed):\n"
            "    torch.manual_seed(seed)\n"
            "    return OneBlockINTR(16, trunk, fc=True), OneBlockINTR(16, trunk)",
            "the first is the INTR",
        ),
    ],
    "guesses": [
        ("is a text", "guess_difference, guess_negative = 'lower', 5", "expected a number from -1 to 1"),
        ("is a share", "guess_difference, guess_negative = -0.1, 80", "only lie between 0 and 5"),
        ("counts by halves", "guess_difference, guess_negative = -0.1, 4.5", "expected a whole number"),
    ],
    "pictures": [
        (
            "has the place in the flattened table",
            "for_the_paper = int(by_bird.argmin())\nagainst_the_paper = int(by_bird.argmax())",
            "for_the_paper is int.*expected tuple or list[^$]*round brackets",
        ),
        (
            "exchanges the two",
            "for_the_paper = divmod(int(by_bird.argmax()), 64)\n"
            "against_the_paper = divmod(int(by_bird.argmin()), 64)",
            "below -0.03[^$]*classes of INTR look more alike than those of INTR-FC",
        ),
        (
            "exchanges bird and seed",
            "bird, seed = divmod(int(by_bird.argmin()), 64)[::-1]\n"
            "for_the_paper, against_the_paper = (bird + 5, seed), (bird + 5, seed)",
            "a seed from 0 to 4 and a bird from 0 to 63[^$]*the seed comes first",
        ),
        (
            "has tensors in it",
            "place = by_bird.argmin()\nfor_the_paper = against_the_paper = (place // 64, place % 64)",
            r"tensor\(\d\)[^$]*int\(...\) makes a whole number",
        ),
    ],
    "paired_interval": [
        (
            "divides by n",
            "def paired_interval(a, b):\n"
            "    d = a - b\n"
            "    half = T_TABLE[len(d) - 1] * d.std() / len(d) ** 0.5\n"
            "    return d.mean(), d.mean() - half, d.mean() + half",
            r"n - 1 \(ddof=1\)",
        ),
        (
            "forgets the root of n",
            "def paired_interval(a, b):\n"
            "    d = a - b\n"
            "    half = T_TABLE[len(d) - 1] * d.std(ddof=1)\n"
            "    return d.mean(), d.mean() - half, d.mean() + half",
            "the interval of the differences 1, 2, 3[^$]*divided by the root of n",
        ),
        (
            "subtracts the wrong way round",
            "def paired_interval(a, b):\n"
            "    d = b - a\n"
            "    half = 4.303 * d.std(ddof=1) / 3**0.5\n"
            "    return d.mean(), d.mean() - half, d.mean() + half",
            "is -2; expected 2[^$]*a minus b",
        ),
        (
            "has high before low",
            "def paired_interval(a, b):\n"
            "    d = a - b\n"
            "    half = 4.303 * d.std(ddof=1) / 3**0.5\n"
            "    return d.mean(), d.mean() + half, d.mean() - half",
            "low is below high[^$]*mean - half, mean",
        ),
        (
            "takes another line of the table",
            "def paired_interval(a, b):\n"
            "    d = a - b\n"
            "    half = T_TABLE[len(d)] * d.std(ddof=1) / len(d) ** 0.5\n"
            "    return d.mean(), d.mean() - half, d.mean() + half",
            "2 degrees of freedom",
        ),
        (
            "does not pair",
            "def paired_interval(a, b):\n"
            "    d = a.mean() - b.mean()\n"
            "    half = 4.303 * ((a.var(ddof=1) + b.var(ddof=1)) / len(a)) ** 0.5\n"
            "    return d, d - half, d + half",
            "subtract first, seed by seed",
        ),
        (
            "returns the half-width",
            "def paired_interval(a, b):\n    d = a - b\n    return d.mean(), 4.303 * d.std(ddof=1) / 3**0.5",
            "three numbers: mean, low, high",
        ),
    ],
    "guess_coverage": [
        ("is a percentage", "guess_coverage = 95", "only lie between 0 and 1"),
        ("is a text", "guess_coverage = '0.95'", "expected a number from 0 to 1"),
    ],
    "split_margin": [
        (
            "does not take the mean of the two",
            "def split_margin(s_a, s_b, alpha_a, alpha_b):\n"
            "    return s_a * (alpha_a - alpha_b), (s_a - s_b) * alpha_b",
            "MEAN of both classes",
        ),
        (
            "adds up the positions",
            "def split_margin(s_a, s_b, alpha_a, alpha_b):\n"
            "    looked = (s_a + s_b) / 2 * (alpha_a - alpha_b)\n"
            "    scored = (s_a - s_b) * (alpha_a + alpha_b) / 2\n"
            "    return looked.sum(), scored.sum()",
            r"looked has shape \(\); expected \(1,\)[^$]*no sum over positions",
        ),
        (
            "forgets the half",
            "def split_margin(s_a, s_b, alpha_a, alpha_b):\n"
            "    return (s_a + s_b) * (alpha_a - alpha_b), (s_a - s_b) * (alpha_a + alpha_b)",
            r"looked, by hand at \[0\] is 2.4; expected 1.2",
        ),
        (
            "forgets brackets",
            "def split_margin(s_a, s_b, alpha_a, alpha_b):\n"
            "    return s_a + s_b / 2 * (alpha_a - alpha_b), (s_a - s_b) * (alpha_a + alpha_b) / 2",
            "looked, by hand[^$]*with its brackets",
        ),
        (
            "takes the mean over positions",
            "def split_margin(s_a, s_b, alpha_a, alpha_b):\n"
            "    return (s_a + s_b).mean() / 2 * (alpha_a - alpha_b), (s_a - s_b) * (alpha_a + alpha_b).mean() / 2",
            r"looked \+ scored[^$]*no sum or mean over positions",
        ),
        (
            "returns the sum",
            "def split_margin(s_a, s_b, alpha_a, alpha_b):\n    return s_a * alpha_a - s_b * alpha_b",
            "two things: looked, scored",
        ),
    ],
}
