"Lab 1: what students write, and what they should be told."

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
            "raised RuntimeError.*\n  in the line: return query @ keys",
        ),
    ],
    "attend": [
        (
            "shares out among the classes",
            "def attend(queries, keys):\n    return my_scores(queries, keys).softmax(dim=0)",
            "add up to 1[^$]*over the positions",
        ),
        (
            "forgets the softmax",
            "def attend(queries, keys):\n    return my_scores(queries, keys)",
            "add up to 1",
        ),
        (
            "divides by the sum of the scores",
            "def attend(queries, keys):\n    s = my_scores(queries, keys)\n    return s / s.sum(1, keepdim=True)",
            "exp of the scores",
        ),
        (
            "returns nothing",
            "def attend(queries, keys):\n    my_scores(queries, keys).softmax(dim=1)",
            "return",
        ),
    ],
    "weight_with_two": [
        ("is a text", "weight_with_two = 'less'", "expected a number from 0 to 1"),
        ("is a percentage", "weight_with_two = 25", "only lie between 0 and 1"),
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
            "puts heads last",
            "def attend_heads(queries, keys, heads):\n"
            "    q, k = queries.chunk(heads, 1), keys.chunk(heads, 1)\n"
            "    return torch.stack([my_scores(x, y).softmax(1) for x, y in zip(q, k)], -1)",
            r"shape \(2, 9, 2\); expected \(2, 2, 9\)",
        ),
    ],
}
