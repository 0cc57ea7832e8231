"""INTR in notebooks: an image classifier whose reasons add up to its logits, and experiments that test them.

The names below are loaded when they are first used: `from intr_nb import Aviary, INTR, explain, HeadBrowser`.
Everything else lives in its package: `intr_nb.models.attention`, `intr_nb.evaluation.localisation`.
"""
__version__ = "0.0.1"

import importlib

_HOMES = {
    "data.species": ("twins",),
    "data.birds": ("Aviary", "draw_birds", "gallery"),
    "data.transforms": ("square_transforms",),
    "data.image_folders": ("ImageFolders",),
    "data.finegrained": ("load_finegrained",),
    "models.backbones": ("build_backbone",),
    "models.receptive_fields": ("receptive_field",),
    "models.intr": ("INTR",),
    "models.one_block": ("OneBlockINTR",),
    "models.pooled": ("PooledClassifier",),
    "models.checkpoints": ("load", "pretrained", "save"),
    "models.hub": ("from_pretrained", "save_pretrained"),
    "models.prediction": ("predict",),
    "training.recipe": ("RECIPES", "Recipe"),
    "training.features": ("cache_features",),
    "training.accuracy": ("evaluate",),
    "training.learning_curves": ("plot_history",),
    "training.loop": ("fit",),
    "explanations.explanation": ("Explanation",),
    "explanations.explainer": ("explain",),
    "explanations.batches": ("batch_explain",),
    "explanations.methods": ("METHODS", "as_map"),
    "explanations.head_plots": ("plot_heads",),
    "explanations.evidence_plots": ("plot_evidence", "plot_margin"),
    "evaluation.metrics": ("METRICS",),
    "evaluation.benchmark": ("evaluate_explanations",),
    "evaluation.class_specificity": ("two_halves",),
    "browsers.head_browser": ("HeadBrowser",),
}
_HOME = {name: module for module, names in _HOMES.items() for name in names}
__all__ = sorted(_HOME)


def __getattr__(name):
    if name not in _HOME:
        raise AttributeError(f"module 'intr_nb' has no attribute {name!r}: it offers {', '.join(__all__)}")
    value = getattr(importlib.import_module(f"intr_nb.{_HOME[name]}"), name)
    globals()[name] = value  # the next time it is there
    return value


def __dir__():
    return sorted({*globals(), *__all__})
