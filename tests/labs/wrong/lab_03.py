"Lab 3: what students write, and what they should be told."

WRONG = {
    "evidence": [
        (
            "sums too early",
            "def evidence(s, alpha):\n    return (s[:, None] * alpha).sum(2)",
            "nothing is summed",
        ),
        (
            "forgets the classes",
            "def evidence(s, alpha):\n    return s * alpha[:, 0]",
            "each head, class and",
        ),
        ("returns attention", "def evidence(s, alpha):\n    return alpha", "s times alpha"),
        (
            "takes s for positive",
            "def evidence(s, alpha):\n    return s.abs()[:, None] * alpha",
            "it may be negative",
        ),
        ("has one head in mind", "def evidence(s, alpha):\n    return s * alpha", "a place for them"),
    ],
    "value_scores": [
        (
            "uses the rows of W_o",
            "def value_scores(x, W_v, W_o, w, heads):\n"
            "    return ((x @ W_v.T) * (W_o @ w)).unflatten(1, (heads, -1)).sum(2).T",
            "columns, not its rows",
        ),
        (
            "forgets W_o",
            "def value_scores(x, W_v, W_o, w, heads):\n"
            "    return ((x @ W_v.T) * w).unflatten(1, (heads, -1)).sum(2).T",
            "where W_o swaps the halves",
        ),
        (
            "doesn't split heads",
            "def value_scores(x, W_v, W_o, w, heads):\n    return x @ W_v.T @ W_o.T @ w",
            r"shape \(2,\); expected \(2, 2\)",
        ),
        (
            "uses the columns of W_v",
            "def value_scores(x, W_v, W_o, w, heads):\n"
            "    return ((x @ W_v) * (w @ W_o)).unflatten(1, (heads, -1)).sum(2).T",
            "meets W_v's rows",
        ),
        (
            "doesn't turn the answer",
            "def value_scores(x, W_v, W_o, w, heads):\n"
            "    return ((x @ W_v.T) * (w @ W_o)).unflatten(1, (heads, -1)).sum(2)",
            r"shape \(3, 2\); expected \(2, 3\)",
        ),
        (
            "mixes up heads and the width of a head",
            "def value_scores(x, W_v, W_o, w, heads):\n"
            "    return ((x @ W_v.T) * (w @ W_o)).unflatten(1, (-1, heads)).sum(1).T",
            "a row for each head",
        ),
    ],
    "gap": [
        (
            "forgets abs",
            "def gap(evidence, logits):\n    return (evidence.sum((0, 2)) - logits).max()",
            "absolute differences",
        ),
        (
            "sums over positions only",
            "def gap(evidence, logits):\n    return (evidence.sum(2) - logits).abs().max()",
            "sum over heads and positions",
        ),
        (
            "returns all differences",
            "def gap(evidence, logits):\n    return (evidence.sum((0, 2)) - logits).abs()",
            r"shape \(2,\); expected \(\)",
        ),
    ],
    "positions_needed": [
        ("counts all", "positions_needed = 576", "smallest number[^$]*one less"),
        ("stops one too early", "positions_needed = 17", "they give 5.47[^$]*strongest first"),
        ("counts from the mean", "positions_needed = 13", "reference 'raw'"),
        ("is the share", "positions_needed = 0.03", "expected int"),
        ("counts none", "positions_needed = 0", "of which there are 576"),
        ("is the sum", "positions_needed = 5.5", "expected int"),
    ],
    "margin_after": [
        ("is a text", "margin_after = 'the same'", "expected a number"),
        ("is a tensor", "margin_after = torch.tensor(4.714)", "expected a number"),
    ],
    "from_mean": [
        (
            "forgets the residual",
            "def from_mean(s, alpha):\n    return (s - s.mean(1, keepdim=True))[:, None] * alpha",
            "evidence, residual",
        ),
        (
            "takes the mean over all heads",
            "def from_mean(s, alpha):\n    return (s - s.mean())[:, None] * alpha, s.mean() * len(s)",
            "each head's own",
        ),
        (
            "leaves evidence as it was",
            "def from_mean(s, alpha):\n    return s[:, None] * alpha, s.mean(1).sum()",
            "s minus its mean",
        ),
        (
            "takes the mean of the heads' means",
            "def from_mean(s, alpha):\n"
            "    m = s.mean(1, keepdim=True)\n"
            "    return (s - m)[:, None] * alpha, m.mean()",
            "sum of their means",
        ),
        (
            "loses the constant",
            "def from_mean(s, alpha):\n    return (s - s.mean(1, keepdim=True))[:, None] * alpha, 0.0",
            "the residual is 0; expected 1[^$]*sum of the heads' means",
        ),
    ],
    "weakest_head": [
        ("is a name", "weakest_head = 'head 6'", "expected a whole number from 0 to 7"),
        ("lies between two heads", "weakest_head = 1.5", "expected a whole number from 0 to 7"),
        ("counts from 1", "weakest_head = 8", "only lie between 0 and 7"),
    ],
    "peak_and_worth": [
        (
            "takes the worth at the peak",
            "def peak_and_worth(s, alpha):\n"
            "    top = alpha.argmax(1, keepdim=True)\n"
            "    m = s - s.mean(1, keepdim=True)\n"
            "    return alpha.amax(1), (m * alpha).gather(1, top)[:, 0]",
            "times alpha, summed",
        ),
        (
            "leaves the reference raw",
            "def peak_and_worth(s, alpha):\n    return alpha.amax(1), (s * alpha).sum(1)",
            "minus the head's mean",
        ),
        (
            "takes the mean over all heads",
            "def peak_and_worth(s, alpha):\n    return alpha.amax(1), ((s - s.mean()) * alpha).sum(1)",
            "each head has its own mean",
        ),
        (
            "returns both of max",
            "def peak_and_worth(s, alpha):\n    return alpha.max(1), (s * alpha).sum(1) - s.mean(1)",
            "expected a tensor of shape[^$]*largest weight",
        ),
    ],
    "margin_of_head_6": [
        ("is beyond what a head can give", "margin_of_head_6 = 4.7", "only lie between -2 and 2"),
        ("is none", "margin_of_head_6 = None", "expected a number"),
    ],
}
