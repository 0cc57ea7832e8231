"Lab 7: what students write, and what they should be told."

WRONG = {
    "probabilities": [
        (
            "takes the softmax over all",
            "def probabilities(logits, candidates):\n    return logits.softmax(0)[candidates]",
            "pick the logits first",
        ),
        (
            "forgets the softmax",
            "def probabilities(logits, candidates):\n    return logits[candidates] / logits[candidates].sum()",
            "then take the softmax",
        ),
        (
            "keeps all classes",
            "def probabilities(logits, candidates):\n    return logits.softmax(0)",
            r"shape \(3,\); expected \(2,\)",
        ),
        (
            "sorts the candidates",
            "def probabilities(logits, candidates):\n    return logits[sorted(candidates)].softmax(0)",
            "in the order of the list",
        ),
        (
            'shares out logits',
            (
                'def probabilities(logits, candidates):\n'
                '    return logits[candidates] / logits[candidates].sum()'
            ),
            'take the softmax',
        ),
        (
            'forgets to share out',
            ('def probabilities(logits, candidates):\n    return logits[candidates].exp()'),
            'they share out 1',
        ),
    ],
    "margin_within": [
        (
            "counts c among the others",
            "def margin_within(logits, c, candidates):\n"
            "    return (logits[c] - logits[candidates].max()).item()",
            "leave c out of the others",
        ),
        (
            "takes the runner-up among all",
            "def margin_within(logits, c, candidates):\n"
            "    others = [k for k in range(len(logits)) if k != c]\n"
            "    return (logits[c] - logits[others].max()).item()",
            "the runner-up must be a candidate",
        ),
        (
            "takes the place in the list for the class",
            "def margin_within(logits, c, candidates):\n"
            "    few = logits[candidates]\n"
            "    return (few[c] - few[[k for k in range(len(few)) if k != c]].max()).item()",
            "the margin of the second",
        ),
        (
            "subtracts the mean",
            "def margin_within(logits, c, candidates):\n"
            "    others = [k for k in candidates if k != c]\n"
            "    return (logits[c] - logits[others].mean()).item()",
            "the margin of the first among all is 2.333; expected 1",
        ),
        (
            'forgets the sign',
            (
                'def margin_within(logits, c, candidates):\n'
                '    others = [k for k in candidates if k != c]\n'
                '    return abs(logits[c] - logits[others].max()).item()'
            ),
            'is 2; expected -2',
        ),
        (
            'takes the best two',
            (
                'def margin_within(logits, c, candidates):\n'
                '    first, second = logits[candidates].topk(2).values\n'
                '    return (first - second).item()'
            ),
            'may be below 0',
        ),
    ],
    "guesses": [
        (
            "is a percentage",
            "guess_cosine, guess_margin_change = 90, 0",
            "guess_cosine is 90; it can only lie between 0 and 1",
        ),
        (
            "is a word",
            "guess_cosine, guess_margin_change = 0.9, 'grows'",
            "guess_margin_change.*expected a number",
        ),
    ],
    "same_maps": [
        (
            "has one long list of all heads",
            "def same_maps(first, second):\n"
            "    return F.cosine_similarity(first.flatten(), second.flatten(), dim=0).item()",
            "a cosine for each head first",
        ),
        (
            "forgets the lengths",
            "def same_maps(first, second):\n    return (first * second).sum((1, 2)).mean().item()",
            "divide by both lengths",
        ),
        (
            "returns a value for each head",
            "def same_maps(first, second):\n"
            "    return F.cosine_similarity(first.flatten(1), second.flatten(1), dim=1)",
            r"has shape \(1,\); expected \(\)",
        ),
        (
            'takes the mean over heads first',
            (
                'def same_maps(first, second):\n'
                '    return F.cosine_similarity(first.mean(0).flatten(), second.mean(0).flatten(), dim=0).item()'
            ),
            'a cosine for each head first',
        ),
        (
            'compares heads with each other',
            (
                'def same_maps(first, second):\n'
                '    return F.cosine_similarity(first.flatten(1), second.flatten(1), dim=0).mean().item()'
            ),
            'cosine of',
        ),
    ],
    "guess_full": [
        ("is a percentage", "guess_full = 97", "only lie between 0 and 1"),
        ("is a text", "guess_full = '0.9'", "expected a number from 0 to 1"),
    ],
    "loudest": [
        ("is the bird itself", "loudest = 4", "neither 4 nor 5"),
        ("is a stranger", "loudest = 11", "it moves it by .*, another by"),
        ("is a name", "loudest = names[6]", "expected int"),
        (
            "forgets that places move",
            "stay = {k: [c for c in range(16) if c != k] for k in range(16)}\n"
            "read = {k: listen.forward(stay[k])[0] for k in range(16) if k not in (4, 5)}\n"
            "loudest = min(read, key=lambda k: (read[k][4] - read[k][5]).item())",
            "it moves it by",
        ),
    ],
    "nobody": [
        (
            "takes the mean over heads, too",
            "def nobody(s):\n    return s.mean().item()",
            "a mean over positions, a sum over heads",
        ),
        ("says nothing at all", "def nobody(s):\n    return 0.0", "the logit by hand is 0; expected 3"),
        ("adds up everything", "def nobody(s):\n    return s.sum().item()", "a mean over positions"),
        (
            'takes the best place',
            ('def nobody(s):\n    return s.amax(1).sum().item()'),
            'a mean over positions',
        ),
    ],
    "guess_contrast": [
        (
            "is a percentage",
            "guess_against_all, guess_against_twin = 20, 50",
            "guess_against_all is 20; it can only lie between 0 and 1",
        ),
        (
            "gives one of the two",
            "guess_against_all, guess_against_twin = 0.2, ...",
            "guess_against_twin is still",
        ),
    ],
    "contrast": [
        (
            "counts c among the others",
            "def contrast(evidence, c, candidates):\n"
            "    return evidence[c] - evidence[list(candidates)].mean(0)",
            "c itself is not among them",
        ),
        (
            "compares with all",
            "def contrast(evidence, c, candidates):\n"
            "    others = [k for k in range(len(evidence)) if k != c]\n"
            "    return evidence[c] - evidence[others].mean(0)",
            "only candidates are compared with",
        ),
        (
            "adds up the others",
            "def contrast(evidence, c, candidates):\n"
            "    return evidence[c] - evidence[[k for k in candidates if k != c]].sum(0)",
            "the mean of the OTHERS",
        ),
        (
            "returns a number",
            "def contrast(evidence, c, candidates):\n"
            "    others = [k for k in candidates if k != c]\n"
            "    return (evidence[c] - evidence[others].mean(0)).sum()",
            r"shape \(\); expected \(1, 2\)",
        ),
        (
            'is against the strongest',
            (
                'def contrast(evidence, c, candidates):\n'
                '    others = [k for k in candidates if k != c]\n'
                '    return evidence[c] - evidence[others].amax(0)'
            ),
            'the mean of the OTHERS',
        ),
        (
            'divides by all candidates',
            (
                'def contrast(evidence, c, candidates):\n'
                '    others = [k for k in candidates if k != c]\n'
                '    return evidence[c] - evidence[others].sum(0) / len(candidates)'
            ),
            'the mean of the OTHERS',
        ),
    ],
}
