"Lab 6: what students write, and what they should be told."

WRONG = {
    "exchanges": [
        (
            "has the old value",
            "def exchanges(first, second):\n    return [(a, first[a]) for a in first if first[a] != second[a]]",
            "the value is the NEW one",
        ),
        (
            "returns the first pair alone",
            "def exchanges(first, second):\n"
            "    for a in first:\n"
            "        if first[a] != second[a]:\n"
            "            return a, second[a]",
            "it returns a list[^$]*even if it is only one",
        ),
        (
            "has the attributes that are equal",
            "def exchanges(first, second):\n    return [(a, second[a]) for a in first]",
            "what is equal is left out",
        ),
        (
            "prints",
            "def exchanges(first, second):\n    print([(a, second[a]) for a in first if first[a] != second[a]])",
            "return",
        ),
        (
            'makes lists of pairs',
            (
                'def exchanges(first, second):\n'
                '    return [[a, second[a]] for a in first if first[a] != second[a]]'
            ),
            'round brackets',
        ),
        (
            'compares values of any attribute',
            (
                'def exchanges(first, second):\n'
                '    return [(a, v) for a, v in second.items() if v not in first.values()]'
            ),
            'all twins of the aviary',
        ),
        (
            'returns a dict',
            (
                'def exchanges(first, second):\n'
                '    return {a: second[a] for a in first if first[a] != second[a]}'
            ),
            'it returns a list',
        ),
    ],
    "guesses": [
        ("gives a name", "guess_species, guess_share = 'finch', 0.5", "expected int"),
        ("has no such species", "guess_species, guess_share = 16, 0.5", "from 0 to 15"),
        ("gives a percentage", "guess_species, guess_share = 0, 80", "only lie between 0 and 1"),
    ],
    "share_in": [
        (
            "keeps the signs",
            "def share_in(map, mask):\n"
            "    (h, w), (H, W) = map.shape, mask.shape\n"
            "    cover = torch.as_tensor(mask).float().reshape(h, H // h, w, W // w).mean((1, 3))\n"
            "    return (map * cover).sum() / map.sum()",
            "whatever their sign",
        ),
        (
            "takes one pixel of each square",
            "def share_in(map, mask):\n"
            "    (h, w), (H, W) = map.shape, mask.shape\n"
            "    cover = torch.as_tensor(mask[:: H // h, :: W // w]).float()\n"
            "    return (map.abs() * cover).sum() / map.abs().sum()",
            "half a square counts half",
        ),
        (
            "takes the mean inside",
            "def share_in(map, mask):\n"
            "    (h, w), (H, W) = map.shape, mask.shape\n"
            "    cover = torch.as_tensor(mask).float().reshape(h, H // h, w, W // w).mean((1, 3))\n"
            "    return (map.abs() * cover).sum() / cover.sum()",
            "worked out by hand",
        ),
        (
            "does not bring both to one size",
            "def share_in(map, mask):\n    return map[mask].abs().sum() / map.abs().sum()",
            "raised IndexError[^$]*in the line: return map",
        ),
        (
            'squares the map',
            (
                'def share_in(map, mask):\n'
                '    (h, w), (H, W) = map.shape, mask.shape\n'
                '    cover = torch.as_tensor(mask).float().reshape(h, H // h, w, W // w).mean((1, 3))\n'
                '    return ((map**2 * cover).sum() / (map**2).sum()).item()'
            ),
            'worked out by hand',
        ),
        (
            'divides by the area',
            (
                'def share_in(map, mask):\n'
                '    (h, w), (H, W) = map.shape, mask.shape\n'
                '    cover = torch.as_tensor(mask).float().reshape(h, H // h, w, W // w).mean((1, 3))\n'
                '    return ((map.abs() * cover).sum() / cover.sum()).item()'
            ),
            'worked out by hand',
        ),
    ],
    "guess_control": [
        ("is a text", "guess_control = 'small'", "expected a number from -2 to 2"),
        ("is in logits", "guess_control = 5.0", "only lie between -2 and 2"),
    ],
    "painted_elsewhere": [
        (
            "calculates in uint8",
            "def painted_elsewhere(before, after, shift):\n"
            "    return before + np.roll(after - before, shift, (0, 1))",
            "no negative numbers",
        ),
        (
            "forgets to go back",
            "def painted_elsewhere(before, after, shift):\n"
            "    return before + np.roll(after.astype(int) - before, shift, (0, 1))",
            "a picture, of uint8",
        ),
        (
            "does not cut off",
            "def painted_elsewhere(before, after, shift):\n"
            "    moved = np.roll(after.astype(int) - before, shift, (0, 1))\n"
            "    return (before + moved).astype(np.uint8)",
            "then clip to 0",
        ),
        (
            "moves the whole picture",
            "def painted_elsewhere(before, after, shift):\n    return np.roll(after, shift, (0, 1))",
            "one down and two to the right",
        ),
        (
            "moves right and down",
            "def painted_elsewhere(before, after, shift):\n"
            "    moved = np.roll(after.astype(int) - before, shift, (1, 0))\n"
            "    return (before + moved).clip(0, 255).astype(np.uint8)",
            r"\(down, right\)",
        ),
    ],
    "outcome": [
        (
            "counts every change as a success",
            "def outcome(before, after, expected):\n    return 'follows' if after != before else 'stays'",
            "'strays'[^$]*0 was expected; yours says 'follows'",
        ),
        (
            "takes species 0 for none",
            "def outcome(before, after, expected):\n"
            "    if after == before:\n"
            "        return 'stays'\n"
            "    if not expected:\n"
            "        return 'flips'\n"
            "    return 'follows' if after == expected else 'strays'",
            "0 was expected; yours says 'flips'",
        ),
        (
            "lets an answer stray that stayed",
            "def outcome(before, after, expected):\n"
            "    if expected is not None:\n"
            "        return 'follows' if after == expected else 'strays'\n"
            "    return 'flips' if after != before else 'stays'",
            "although 0 was expected; yours says 'strays'",
        ),
        (
            'asks for the species alone',
            (
                'def outcome(before, after, expected):\n'
                "    return 'follows' if after == expected else 'strays'"
            ),
            "yours says 'strays'",
        ),
        (
            'knows three answers',
            (
                'def outcome(before, after, expected):\n'
                '    if after == before:\n'
                "        return 'stays'\n"
                "    return 'follows' if after == expected else 'strays'"
            ),
            "no species has these attributes; yours says 'strays'",
        ),
    ],
    "odd_exchange": [
        ("follows", "odd_exchange = (17, 'crown', 'black')", "it follows; look for a look"),
        ("stays", "odd_exchange = (2, 'beak', 'hook')", "it stays"),
        ("has no such value", "odd_exchange = (2, 'crown', 'pink')", "the menus of the browser"),
        ("is a list", "odd_exchange = [2, 'crown', 'blue']", "expected tuple"),
    ],
    "guess_removed": [
        ("is a percentage", "guess_removed = 50", "only lie between 0 and 1"),
        ("is a text", "guess_removed = 'half'", "expected a number from 0 to 1"),
    ],
}
