"Lab 10: what students write, and what they should be told."

PART = "def part_of(path):\n    return 'valid' if {condition} else 'train'"
SEEN = (
    "def seen_before(train, valid):\n"
    "    return sorted((v, t) for v, a in valid.items() for t, b in train.items() if {condition})"
)
INTERVAL = """def interval_by_scene(right, scenes, draws=2000, seed=0):
    random = np.random.RandomState(seed)
    names, which = np.unique(np.asarray(scenes), return_inverse=True)
    hits, counts = np.bincount(which, weights=right), np.bincount(which)
    {means}
    return np.mean(right), *np.quantile(means, [0.025, 0.975])"""
SENTENCE = """def sentence(name, mean, low, high, n, chance):
    verdict = {verdict}
    return f"{{name}}: {{mean:{form}}} [{{low:{form}}}, {{high:{form}}}], n = {{n}}, chance {{chance:.2f}}: {{verdict}}"
"""
VERDICT = "'better than chance' if low > chance else 'worse than chance' if high < chance else 'not told from chance'"

WRONG = {
    "part_of": [
        (
            "draws for each photograph",
            PART.format(condition="zlib.crc32(path.encode()) % 5 == 0"),
            "torn apart: decide by scene_of",
        ),
        ("throws dice", PART.format(condition="np.random.rand() < 0.2"), "torn apart"),
        (
            "takes Python's hash",
            PART.format(condition="hash(scene_of(path)) % 5 == 0"),
            "changes from start to start",
        ),
        ("splits by class", PART.format(condition="path[:7] == 'class 3'"), "the class must not decide"),
        ("keeps half", PART.format(condition="zlib.crc32(scene_of(path).encode()) % 2"), "it is 0.[45]"),
        (
            "answers True or False",
            "def part_of(path):\n    return zlib.crc32(scene_of(path).encode()) % 5 == 0",
            '"train" or "valid"',
        ),
        ('splits by the frame', PART.format(condition="path[-5] == 'a'"), 'it is 0.50'),
        (
            'says val',
            PART.format(condition="zlib.crc32(scene_of(path).encode()) % 5 == 0").replace("'valid'", "'val'"),
            'is "train" or "valid"',
        ),
        ('counts letters', PART.format(condition="len(scene_of(path)) % 5 == 0"), 'about a fifth'),
    ],
    "seen_before": [
        ("compares names", SEEN.format(condition="v == t"), "c is b under another name"),
        ("compares means", SEEN.format(condition="a.mean() == b.mean()"), "upside down"),
        ("lets a small picture stretch", SEEN.format(condition="(a == b).all()"), "minds the shape"),
        ("compares arrays by ==", SEEN.format(condition="a == b"), "raised ValueError"),
        (
            "names training first",
            "def seen_before(train, valid):\n"
            "    same = np.array_equal\n"
            "    return [(t, v) for v, a in valid.items() for t, b in train.items() if same(a, b)]",
            r"it found \[\('b', 'c'\)\]",
        ),
        (
            "finds one copy each",
            "def seen_before(train, valid):\n"
            "    same = {a.tobytes(): t for t, a in train.items()}\n"
            "    return sorted((v, same[a.tobytes()]) for v, a in valid.items() if a.tobytes() in same)",
            "four pairs",
        ),
        ('compares sizes', SEEN.format(condition="a.shape == b.shape"), 'c is b under another name'),
        (
            'does not sort',
            (
                'def seen_before(train, valid):\n'
                '    same = np.array_equal\n'
                '    return [(v, t) for v, a in valid.items() for t, b in train.items() if same(a, b)]'
            ),
            'four pairs, sorted',
        ),
        (
            'looks on one side alone',
            (
                'def seen_before(train, valid):\n'
                '    both = [(v, w) for v in valid for w in valid if v < w]\n'
                '    return sorted(p for p in both if np.array_equal(valid[p[0]], valid[p[1]]))'
            ),
            'it found \\[\\]',
        ),
    ],
    "expected": [
        ("is a percentage", "expected = 90", "only lie between 0 and 1"),
        ("is a text", "expected = 'high'", "expected a number from 0 to 1"),
    ],
    "interval_by_scene": [
        (
            "draws photographs",
            INTERVAL.format(
                means="means = right[random.randint(len(right), size=(draws, len(right)))].mean(1)"
            ),
            "draw scenes",
        ),
        (
            "takes the mean of the scenes' means",
            INTERVAL.format(
                means="means = (hits / counts)[random.randint(len(hits), size=(draws, len(hits)))].mean(1)"
            ).replace("np.mean(right)", "(hits / counts).mean()"),
            "not the mean of the scenes' means",
        ),
        (
            "returns a dict",
            "def interval_by_scene(right, scenes, draws=2000, seed=0):\n    return {'mean': right.mean()}",
            "expected numbers",
        ),
        (
            "takes single scenes",
            INTERVAL.format(means="means = hits / counts"),
            "each draw takes a hundred scenes",
        ),
        (
            'draws without replacement',
            INTERVAL.format(
                means="means = np.array([right[random.permutation(len(right))].mean() for _ in range(200)])"
            ),
            'with replacement',
        ),
        (
            'adds two standard errors',
            (
                'def interval_by_scene(right, scenes, draws=2000, seed=0):\n'
                '    half = 1.96 * right.std() / len(right) ** 0.5\n'
                '    return right.mean(), right.mean() - half, right.mean() + half'
            ),
            'draw scenes',
        ),
    ],
    "of_margin": [
        ("says nothing of the centre", "of_margin, of_centre = 0.9, ...", "of_centre is still"),
        ("is a percentage", "of_margin, of_centre = 0.9, 50", "of_centre is 50"),
    ],
    "sentence": [
        (
            "calls every larger mean better",
            SENTENCE.format(
                verdict="'better than chance' if mean > chance else 'worse than chance'", form=".2f"
            ),
            "0.50 is in the interval",
        ),
        (
            "takes the bound for better",
            SENTENCE.format(verdict=VERDICT.replace("low > chance", "low >= chance"), form=".2f"),
            "neither above nor below",
        ),
        ("prints all digits", SENTENCE.format(verdict=VERDICT, form="f"), "it begins with"),
        (
            "compares with one half",
            SENTENCE.format(verdict=VERDICT.replace("low > chance", "low > 0.5"), form=".2f"),
            "chance is given, not 0.5",
        ),
        (
            "prints in place of returning",
            "def sentence(name, mean, low, high, n, chance):\n    print(f'{name}: {mean:.2f}')",
            "returned nothing",
        ),
        (
            'forgets n',
            SENTENCE.format(verdict=VERDICT, form=".2f").replace("n = {n}, ", ""),
            'it begins with',
        ),
        (
            'writes a verdict of its own',
            SENTENCE.format(verdict="'significant' if low > chance else 'not significant'", form=".2f"),
            "then comes 'better than chance'",
        ),
    ],
}
