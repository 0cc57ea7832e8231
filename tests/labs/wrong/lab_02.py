"Lab 2: what students write, and what they should be told."

WRONG = {
    "logits_of": [
        (
            "doesn't add up",
            "def logits_of(z_out, w):\n    return z_out * w",
            "one number for each image and class",
        ),
        ("sums without w", "def logits_of(z_out, w):\n    return z_out.sum(2)", "number by number with w"),
        (
            "turns the product round",
            "def logits_of(z_out, w):\n    return w @ z_out",
            "raised RuntimeError[^$]*in the line: return w @ z_out",
        ),
        (
            'takes the mean',
            ('def logits_of(z_out, w):\n    return (z_out * w).mean(2)'),
            'number by number with w',
        ),
    ],
    "search": [
        (
            "shares out among the classes",
            "def search(x, queries, W_q, W_k, W_v):\n"
            "    alpha = ((queries @ W_q.T) @ (x @ W_k.T).transpose(1, 2) / 2).softmax(1)\n"
            "    return alpha @ (x @ W_v.T), alpha",
            "softmax is over positions",
        ),
        (
            "forgets the root",
            "def search(x, queries, W_q, W_k, W_v):\n"
            "    alpha = ((queries @ W_q.T) @ (x @ W_k.T).transpose(1, 2)).softmax(2)\n"
            "    return alpha @ (x @ W_v.T), alpha",
            "root of D = 4",
        ),
        (
            "brings home positions in place of values",
            "def search(x, queries, W_q, W_k, W_v):\n"
            "    alpha = ((queries @ W_q.T) @ (x @ W_k.T).transpose(1, 2) / 2).softmax(2)\n"
            "    return alpha @ x, alpha",
            "values are W_v x",
        ),
        (
            "returns one thing",
            "def search(x, queries, W_q, W_k, W_v):\n"
            "    alpha = ((queries @ W_q.T) @ (x @ W_k.T).transpose(1, 2) / 2).softmax(2)\n"
            "    return alpha @ (x @ W_v.T)",
            "z_out, alpha",
        ),
        (
            'takes the root of N',
            (
                'def search(x, queries, W_q, W_k, W_v):\n'
                '    alpha = ((queries @ W_q.T) @ (x @ W_k.T).transpose(1, 2) / x.shape[1] ** 0.5).softmax(2)\n'
                '    return alpha @ (x @ W_v.T), alpha'
            ),
            'root of D = 4',
        ),
        (
            'leaves the matrices unturned',
            (
                'def search(x, queries, W_q, W_k, W_v):\n'
                '    alpha = ((queries @ W_q) @ (x @ W_k).transpose(1, 2) / 2).softmax(2)\n'
                '    return alpha @ (x @ W_v), alpha'
            ),
            'is `x @ W.T`',
        ),
        (
            'exchanges two matrices',
            (
                'def search(x, queries, W_q, W_k, W_v):\n'
                '    alpha = ((queries @ W_k.T) @ (x @ W_q.T).transpose(1, 2) / 2).softmax(2)\n'
                '    return alpha @ (x @ W_v.T), alpha'
            ),
            'W_q to the queries',
        ),
        (
            'returns alpha first',
            (
                'def search(x, queries, W_q, W_k, W_v):\n'
                '    alpha = ((queries @ W_q.T) @ (x @ W_k.T).transpose(1, 2) / 2).softmax(2)\n'
                '    return alpha, alpha @ (x @ W_v.T)'
            ),
            'z_out has shape \\(1, 2, 2\\); expected \\(1, 2, 4\\)',
        ),
    ],
    "after_shuffling": [
        ("is a number", "after_shuffling = 2", "expected one of the words"),
        ("is another word", "after_shuffling = 'shuffled'", "one of the words 'same'"),
    ],
    "difference_of_copies": [
        ("is a word", "difference_of_copies = 'none'", "expected a number"),
        ("was not guessed", "difference_of_copies = None", "expected a number"),
    ],
    "search_heads": [
        (
            "divides by the root of D",
            "def search_heads(x, queries, W_q, W_k, W_v, W_o, heads):\n"
            "    found, alphas = [], []\n"
            "    parts = (t.chunk(heads, -1) for t in (queries @ W_q.T, x @ W_k.T, x @ W_v.T))\n"
            "    for q, k, v in zip(*parts):\n"
            "        alphas.append((q @ k.transpose(1, 2) / x.shape[2] ** 0.5).softmax(2))\n"
            "        found.append(alphas[-1] @ v)\n"
            "    return torch.cat(found, 2) @ W_o.T, torch.stack(alphas, 1)",
            "root of D / heads",
        ),
        (
            "forgets W_o",
            "def search_heads(x, queries, W_q, W_k, W_v, W_o, heads):\n"
            "    found, alphas = [], []\n"
            "    parts = (t.chunk(heads, -1) for t in (queries @ W_q.T, x @ W_k.T, x @ W_v.T))\n"
            "    for q, k, v in zip(*parts):\n"
            "        alphas.append((q @ k.transpose(1, 2) / q.shape[1] ** 0.5).softmax(2))\n"
            "        found.append(alphas[-1] @ v)\n"
            "    return torch.cat(found, 2), torch.stack(alphas, 1)",
            "join the heads, then W_o",
        ),
        (
            "puts heads first",
            "def search_heads(x, queries, W_q, W_k, W_v, W_o, heads):\n"
            "    found, alphas = [], []\n"
            "    parts = (t.chunk(heads, -1) for t in (queries @ W_q.T, x @ W_k.T, x @ W_v.T))\n"
            "    for q, k, v in zip(*parts):\n"
            "        alphas.append((q @ k.transpose(1, 2) / q.shape[1] ** 0.5).softmax(2))\n"
            "        found.append(alphas[-1] @ v)\n"
            "    return torch.cat(found, 2) @ W_o.T, torch.stack(alphas)",
            "heads come second",
        ),
        (
            "splits before it multiplies",
            "def search_heads(x, queries, W_q, W_k, W_v, W_o, heads):\n"
            "    q, k = queries.chunk(heads, -1)[0], x.chunk(heads, -1)[0]\n"
            "    return (q @ W_q.T) @ (k @ W_k.T).transpose(1, 2)",
            "raised RuntimeError",
        ),
        (
            'cuts the heads across',
            (
                'def search_heads(x, queries, W_q, W_k, W_v, W_o, heads):\n'
                '    d = x.shape[2] // heads\n'
                '    q = (queries @ W_q.T).reshape(heads, -1, d)\n'
                '    k, v = ((x @ W.T).reshape(len(x), heads, -1, d) for W in (W_k, W_v))\n'
                '    alpha = (q @ k.transpose(2, 3) / d**0.5).softmax(3)\n'
                '    return (alpha @ v).transpose(1, 2).flatten(2) @ W_o.T, alpha'
            ),
            'slice of the last dimension',
        ),
        (
            'leaves W_o unturned',
            (
                'def search_heads(x, queries, W_q, W_k, W_v, W_o, heads):\n'
                '    found, alphas = [], []\n'
                '    parts = (t.chunk(heads, -1) for t in (queries @ W_q.T, x @ W_k.T, x @ W_v.T))\n'
                '    for q, k, v in zip(*parts):\n'
                '        alphas.append((q @ k.transpose(1, 2) / q.shape[1] ** 0.5).softmax(2))\n'
                '        found.append(alphas[-1] @ v)\n'
                '    return torch.cat(found, 2) @ W_o, torch.stack(alphas, 1)'
            ),
            'join the heads, then W_o',
        ),
    ],
    "untrained_accuracy": [
        ("is a percentage", "untrained_accuracy = 25", "only lie between 0 and 1"),
        ("is a text", "untrained_accuracy = 'a quarter'", "expected a number"),
    ],
    "loss": [
        (
            "adds up the batch",
            "def loss(logits, labels):\n"
            "    return -logits.log_softmax(1)[torch.arange(len(labels)), labels].sum()",
            "the mean over the batch",
        ),
        (
            "forgets the minus",
            "def loss(logits, labels):\n"
            "    return logits.log_softmax(1)[torch.arange(len(labels)), labels].mean()",
            r"is -1\.386; expected 1\.386",
        ),
        (
            "exponentiates large logits",
            "def loss(logits, labels):\n"
            "    p = logits.exp() / logits.exp().sum(1, keepdim=True)\n"
            "    return -p[torch.arange(len(labels)), labels].log().mean()",
            "NaN[^$]*log_softmax",
        ),
        (
            "takes the softmax over the batch",
            "def loss(logits, labels):\n"
            "    return -logits.log_softmax(0)[torch.arange(len(labels)), labels].mean()",
            "ln 4",
        ),
        (
            "takes all classes' p",
            "def loss(logits, labels):\n    return -logits.log_softmax(1)[:, labels].mean()",
            "two classes share it",
        ),
        (
            'forgets the logarithm',
            (
                'def loss(logits, labels):\n'
                '    return -logits.softmax(1)[torch.arange(len(labels)), labels].mean()'
            ),
            '-ln\\(1/4\\)',
        ),
    ],
    "train_step": [
        (
            "forgets zero_grad",
            "def train_step(model, images, labels, optimizer):\n"
            "    value = my_loss(model(images), labels)\n"
            "    value.backward()\n"
            "    optimizer.step()\n"
            "    return value.item()",
            "old gradients were added",
        ),
        (
            "deletes the gradients too late",
            "def train_step(model, images, labels, optimizer):\n"
            "    value = my_loss(model(images), labels)\n"
            "    value.backward()\n"
            "    optimizer.zero_grad()\n"
            "    optimizer.step()\n"
            "    return value.item()",
            "the weights moved[^$]*backward",
        ),
        (
            "forgets the step",
            "def train_step(model, images, labels, optimizer):\n"
            "    optimizer.zero_grad()\n"
            "    value = my_loss(model(images), labels)\n"
            "    value.backward()\n"
            "    return value.item()",
            "optimizer.step",
        ),
        (
            "returns a tensor",
            "def train_step(model, images, labels, optimizer):\n"
            "    optimizer.zero_grad()\n"
            "    value = my_loss(model(images), labels)\n"
            "    value.backward()\n"
            "    optimizer.step()\n"
            "    return value",
            r"value\.item",
        ),
        (
            'moves before there are gradients',
            (
                'def train_step(model, images, labels, optimizer):\n'
                '    value = my_loss(model(images), labels)\n'
                '    optimizer.zero_grad()\n'
                '    optimizer.step()\n'
                '    value.backward()\n'
                '    return value.item()'
            ),
            'the weights moved',
        ),
    ],
    "entropy_after": [
        ("is negative", "entropy_after = -0.2", "only lie between 0 and 1"),
        ("is a word", "entropy_after = 'lower'", "expected a number"),
    ],
}
