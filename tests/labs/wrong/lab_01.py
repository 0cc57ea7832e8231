"Lab 1: what students write, and what they should be told."

SLICES = (
    "def attend_heads(queries, keys, heads):\n"
    "    w = queries.shape[1] // heads\n"
    "    slices = [slice({start}, {end}) for r in {heads}]\n"
    "    return torch.stack([attend(queries[:, s], keys[:, s]) for s in slices])"
)

WRONG = {
    "scores": [
        ("forgets the root", "def scores(query, keys):\n    return keys @ query", "root of D"),
        ("divides by D", "def scores(query, keys):\n    return keys @ query / len(query)", "root of D"),
        (
            "multiplies and doesn't add",
            "def scores(query, keys):\n    return keys * query / len(query) ** 0.5",
            r"shape \(9, 4\); expected \(9,\)",
        ),
        (
            "takes the product the wrong way round",
            "def scores(query, keys):\n    return query @ keys / 2",
            "raised RuntimeError.*\n  in the line: return query @ keys[^$]*last size of A",
        ),
        (
            "divides by 2 whatever D is",
            "def scores(query, keys):\n    return keys @ query / math.sqrt(4)",
            "where D is 9[^$]*take D from the query",
        ),
        (
            "returns a list",
            "def scores(query, keys):\n    return [0, 0, 0, 0, 2 * a, 0, 0, a, 0]",
            "is list[^$]*torch.tensor",
        ),
        (
            "knows no D",
            "def scores(query, keys):\n    return keys @ query / math.sqrt(D)",
            "name 'D' is not defined[^$]*knows its arguments",
        ),
        (
            "is a value, not a function",
            "scores = image @ redcap / 2",
            "expected a function[^$]*run the cell with `def scores`",
        ),
    ],
    "attend": [
        (
            "shares out among the classes",
            "def attend(queries, keys):\n    return my_scores(queries, keys).softmax(dim=0)",
            r"sum of each class's weights at \[\d\] is[^$]*over the positions",
        ),
        (
            "forgets the softmax",
            "def attend(queries, keys):\n    return my_scores(queries, keys)",
            "sum of each class's weights",
        ),
        (
            "divides by the sum of the scores",
            "def attend(queries, keys):\n    s = my_scores(queries, keys)\n    return s / s.sum(1, keepdim=True)",
            "exp of the scores",
        ),
        (
            "forgets the root",
            "def attend(queries, keys):\n    return (queries @ keys.T).softmax(1)",
            "divides by the root of D",
        ),
        (
            "forgets keepdim",
            "def attend(queries, keys):\n    e = my_scores(queries, keys).exp()\n    return e / e.sum(1)",
            "must match the size[^$]*keepdim=True",
        ),
        (
            "takes math's exp",
            "def attend(queries, keys):\n    return math.exp(my_scores(queries, keys))",
            "`math` takes one number",
        ),
        (
            "puts positions first",
            "def attend(queries, keys):\n    return my_scores(queries, keys).softmax(1).T",
            r"shape \(9, 2\); expected \(2, 9\)[^$]*a row for each class",
        ),
        (
            "returns nothing",
            "def attend(queries, keys):\n    my_scores(queries, keys).softmax(dim=1)",
            "return",
        ),
    ],
    "weight_with_two": [
        (
            "is a text",
            "weight_with_two = '0.25'",
            "expected a number from 0 to 1[^$]*without quotation marks",
        ),
        ("is a percentage", "weight_with_two = 25", "only lie between 0 and 1[^$]*not a percentage: 0.25"),
        ("has a comma", "weight_with_two = 0,25", "a decimal point, not a comma: 0.25"),
        ("is a tensor", "weight_with_two = torch.tensor(0.25)", "takes the number out"),
    ],
    "collect": [
        (
            "weighs the wrong way",
            "def collect(alpha, values):\n    return alpha.T @ values",
            "raised RuntimeError",
        ),
        (
            "takes the mean",
            "def collect(alpha, values):\n    return alpha @ values / 9",
            "4/13 of the head's 2",
        ),
        (
            "takes the strongest position alone",
            "def collect(alpha, values):\n    return values[alpha.argmax(1)]",
            "4/13 of the head's 2",
        ),
    ],
    "weight_when_sharp": [
        ("is a list", "weight_when_sharp = [0.8]", "expected a number"),
        ("is three times the old weight and more", "weight_when_sharp = 3.0", "only lie between 0 and 1"),
    ],
    "entropy": [
        (
            "meets 0 ln 0",
            "def entropy(alpha):\n    return -(alpha * alpha.log()).sum(1) / math.log(alpha.shape[1])",
            "NaN[^$]*0 ln 0",
        ),
        (
            "forgets ln N",
            "def entropy(alpha):\n    return torch.special.entr(alpha).sum(1)",
            "divide by ln N",
        ),
        (
            "forgets the minus",
            "def entropy(alpha):\n    return (alpha * (alpha + 1e-9).log()).sum(1) / math.log(9)",
            "is -1; expected 1[^$]*mind the minus",
        ),
        (
            "takes classes for positions",
            "def entropy(alpha):\n    return torch.special.entr(alpha).sum(1) / math.log(len(alpha))",
            r"infinite[^$]*N = alpha.shape\[1\]",
        ),
        (
            "adds over the maps",
            "def entropy(alpha):\n    return torch.special.entr(alpha).sum(0)",
            r"\(9,\); expected \(2,\)[^$]*a number for each map",
        ),
        (
            "adds up all maps",
            "def entropy(alpha):\n    return torch.special.entr(alpha).sum()",
            r"expected.*\(2,\)",
        ),
    ],
    "attend_heads": [
        (
            "divides by the root of D",
            "def attend_heads(queries, keys, heads):\n"
            "    q, k = queries.chunk(heads, 1), keys.chunk(heads, 1)\n"
            "    return torch.stack([(x @ y.T / queries.shape[1] ** 0.5).softmax(1) for x, y in zip(q, k)])",
            "root of D / heads",
        ),
        (
            "has one softmax for all",
            "def attend_heads(queries, keys, heads):\n"
            "    q, k = queries.chunk(heads, 1), keys.chunk(heads, 1)\n"
            "    return torch.stack([my_scores(x, y) for x, y in zip(q, k)]).softmax(0)",
            "a softmax of its own",
        ),
        (
            "forgets brackets, so that the second head ends too early",
            SLICES.format(start="r * w", end="r + 1 * w", heads="range(heads)"),
            "bluewing, head 2: wing against sky[^$]*where does its slice end",
        ),
        (
            "counts heads from 1",
            SLICES.format(start="r * w", end="(r + 1) * w", heads="range(1, heads + 1)"),
            "NaN[^$]*r begins at 0",
        ),
        (
            "has heads of width 2 only",
            SLICES.format(start="2 * r", end="2 * r + 2", heads="range(heads)"),
            "one head, which is exercise 2[^$]*not always 2",
        ),
        (
            "keeps the last head only",
            SLICES.format(start="w", end="2 * w", heads="range(heads)")
            + " if heads > 1 else attend(queries, keys)[None]",
            "redcap, head 1: head against sky[^$]*first slice",
        ),
        (
            "divides with one slash",
            SLICES.format(start="r * w", end="(r + 1) * w", heads="range(heads)").replace("//", "/"),
            "slice indices[^$]*`//` divides whole numbers",
        ),
        (
            "puts heads last",
            "def attend_heads(queries, keys, heads):\n"
            "    q, k = queries.chunk(heads, 1), keys.chunk(heads, 1)\n"
            "    return torch.stack([my_scores(x, y).softmax(1) for x, y in zip(q, k)], -1)",
            r"shape \(2, 9, 2\); expected \(2, 2, 9\)",
        ),
    ],
}
