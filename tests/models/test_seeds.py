"""A seed draws the same weights for ever: results in papers and stored outputs depend on it."""

import pytest
import torch

from intr_nb.models.intr import INTR
from intr_nb.models.one_block import OneBlockINTR
from intr_nb.models.pooled import PooledClassifier

SIZES = dict(backbone="patchnet", dim=16, num_heads=4)
DECODER = dict(encoder_layers=1, decoder_layers=2, ffn_dim=8, fc=True)

# build, the generator's next number, sums of absolute weights, logits: taken before the models were split over modules
DRAWN = {
    "one block": (
        lambda: OneBlockINTR(5, **SIZES),
        0.9278371930,
        {"block.queries": 66.82144, "block.W_k.weight": 51.4347, "block.w.weight": 5.12779},
        [-2.165150, -2.168865, -2.169913, -2.173816, -2.166914],
    ),
    "full": (
        lambda: INTR(5, **SIZES, **DECODER),
        0.6090490818,
        {
            "input_proj.weight": 64.77859,
            "encoder.layers.0.linear1.weight": 36.06036,
            "decoder.layers.0.multihead_attn.in_proj_weight": 120.86735,
            "decoder.layers.1.self_attn.out_proj.weight": 54.21041,
            "query_embed.weight": 66.97709,
            "presence_vector.weight": 20.10654,
        },
        [0.426040, -0.279255, 0.527259, 1.341940, -0.621047],
    ),
    "pooled": (
        lambda: PooledClassifier(5, "patchnet"),
        0.1299628019,
        {"linear.weight": 20.40011},
        [-0.124715, -0.015585, 0.061367, 0.103078, 0.016759],
    ),
}


@pytest.mark.parametrize("name", DRAWN)
@torch.no_grad()
def test_a_seed_draws_the_same_weights(name):
    build, following, sums, logits = DRAWN[name]
    torch.manual_seed(0)
    model = build().eval()
    assert torch.rand(1).item() == pytest.approx(following)  # as many draws as ever
    state = model.state_dict()
    assert {k: state[k].double().abs().sum().item() for k in sums} == pytest.approx(sums, rel=1e-6)
    x = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    assert model(x).logits[0].tolist() == pytest.approx(logits, abs=2e-5)
