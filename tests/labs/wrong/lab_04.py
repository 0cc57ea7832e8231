"Lab 4: what students write, and what they should be told."

WRONG = {
    "share_on": [
        (
            "keeps negative values",
            "def share_on(map, cover):\n    return (map * cover).sum() / map.sum()",
            "whole positive part",
        ),
        (
            "forgets to divide",
            "def share_on(map, cover):\n    return (map.clamp(min=0) * cover).sum()",
            "four times as high[^$]*divide by its sum",
        ),
        (
            "divides by the area",
            "def share_on(map, cover):\n    return (map.clamp(min=0) * cover).sum() / cover.sum()",
            "share of the example",
        ),
        (
            "takes absolute values",
            "def share_on(map, cover):\n    return (map.abs() * cover).sum() / map.abs().sum()",
            "whole positive part",
        ),
        (
            'counts a position that is partly covered as a whole',
            (
                'def share_on(map, cover):\n'
                '    positive = map.clamp(min=0)\n'
                '    return (positive * (cover > 0)).sum() / positive.sum()'
            ),
            'share of the example is 0.8; expected 0.65',
        ),
        (
            'takes the largest place',
            ('def share_on(map, cover):\n    return cover.flatten()[map.argmax()]'),
            'share of the example',
        ),
    ],
    "blind_head": [
        ("is no attribute", "blind_attribute, blind_share = 'eye', 0.1", "one of the words[^$]*eye_ring"),
        ("is a percentage", "blind_attribute, blind_share = 'wing', 5", "only lie between 0 and 1"),
    ],
    "densities": [
        (
            "forgets the area",
            "def densities(maps, covers):\n"
            "    d = maps.clamp(min=0).flatten(1) @ covers.flatten(1).T\n"
            "    return d / d.sum(1, keepdim=True)",
            "attributes' areas",
        ),
        (
            "forgets to divide by the sum",
            "def densities(maps, covers):\n"
            "    return maps.clamp(min=0).flatten(1) @ covers.flatten(1).T / covers.sum((1, 2))",
            "divide each row by its sum",
        ),
        (
            "divides columns by their sum",
            "def densities(maps, covers):\n"
            "    d = maps.clamp(min=0).flatten(1) @ covers.flatten(1).T / covers.sum((1, 2))\n"
            "    return d / d.sum(0)",
            "divide each row",
        ),
        (
            "keeps negative values",
            "def densities(maps, covers):\n"
            "    d = maps.flatten(1) @ covers.flatten(1).T / covers.sum((1, 2))\n"
            "    return d / d.sum(1, keepdim=True)",
            "the positive part alone",
        ),
        (
            'counts positions for the area',
            (
                'def densities(maps, covers):\n'
                '    d = maps.clamp(min=0).flatten(1) @ covers.flatten(1).T / (covers > 0).sum((1, 2))\n'
                '    return d / d.sum(1, keepdim=True)'
            ),
            'half a position counts half',
        ),
    ],
    "head_3_in_barbets": [
        ("is a number", "head_3_in_barbets = 7", "expected one of the words"),
        ("is another word", "head_3_in_barbets = 'chest'", "one of the words[^$]*breast"),
    ],
    "head_3_everywhere": [
        ("is a percentage", "head_3_everywhere = 60", "only lie between 0 and 1"),
        ("is a word", "head_3_everywhere = 'most'", "expected a number"),
    ],
    "assign": [
        (
            "takes each head's favourite",
            "def assign(table):\n    return table.argmax(1)",
            "0.4 \\+ 0.5 is more",
        ),
        (
            "looks for the smallest sum",
            "def assign(table):\n    return linear_sum_assignment(table.numpy())[1]",
            "maximize=True",
        ),
        (
            "returns rows and columns",
            "def assign(table):\n    return linear_sum_assignment(table.numpy(), maximize=True)",
            r"shape \(2, 2\); expected \(2,\)",
        ),
        (
            'returns the sum',
            (
                'def assign(table):\n'
                '    return table.numpy()[linear_sum_assignment(table.numpy(), maximize=True)].sum()'
            ),
            'expected \\(2,\\)',
        ),
    ],
    "match": [
        (
            "takes the maximum",
            "def match(shares):\n    return shares.mean(0).amax(1).mean()",
            "one must yield",
        ),
        (
            "assigns in each image",
            "def match(shares):\n"
            "    return torch.stack([t[torch.arange(len(t)), torch.as_tensor(my_assign(t))].mean()"
            " for t in shares]).mean()",
            "one assignment for all images",
        ),
        (
            "takes whole columns",
            "def match(shares):\n    table = shares.mean(0)\n    return table[:, my_assign(table)].mean()",
            r"\(0\.9 \+ 0\.8\) / 2",
        ),
        (
            "adds up",
            "def match(shares):\n"
            "    t = shares.mean(0)\n"
            "    return t[torch.arange(len(t)), torch.as_tensor(my_assign(t))].sum()",
            r"is 1\.7; expected 0\.85",
        ),
        (
            'looks at the first image alone',
            (
                'def match(shares):\n'
                '    table = shares[0]\n'
                '    return table[torch.arange(len(table)), torch.as_tensor(my_assign(table))].mean()'
            ),
            'one assignment for all images',
        ),
    ],
    "shuffled_match": [
        ("is a percentage", "shuffled_match = 13", "only lie between 0 and 1"),
        ("is a word", "shuffled_match = 'less'", "expected a number"),
    ],
    "shuffle": [
        (
            "has one order for all images",
            "def shuffle(shares, generator):\n"
            "    return shares[:, torch.randperm(shares.shape[1], generator=generator)]",
            "a new order for each image",
        ),
        (
            "shuffles the images",
            "def shuffle(shares, generator):\n"
            "    return shares[torch.randperm(len(shares), generator=generator)]",
            "heads move",
        ),
        (
            "shuffles every number",
            "def shuffle(shares, generator):\n"
            "    return torch.rand(shares.shape, generator=generator).argsort(1).double()",
            "every head once",
        ),
        (
            "tears rows apart",
            "def shuffle(shares, generator):\n"
            "    return shares.gather(1, torch.rand(shares.shape, generator=generator).argsort(1))",
            "row stays together",
        ),
        (
            "forgets the generator",
            "def shuffle(shares, generator):\n"
            "    return torch.stack([image[torch.randperm(len(image))] for image in shares])",
            "generator=generator",
        ),
        (
            'begins anew in every image',
            (
                'def shuffle(shares, generator):\n'
                '    same = [torch.randperm(x.shape[0], generator=generator.manual_seed(0)) for x in shares]\n'
                '    return torch.stack([x[order] for x, order in zip(shares, same)])'
            ),
            'a new order for each image',
        ),
        (
            'turns the heads round',
            (
                'def shuffle(shares, generator):\n'
                '    steps = torch.randint(shares.shape[1], (len(shares),), generator=generator).tolist()\n'
                '    return torch.stack([image.roll(k, 0) for image, k in zip(shares, steps)])'
            ),
            'all 720 that there are',
        ),
    ],
}
