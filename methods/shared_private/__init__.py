"""Autoencoders of images: one that all tasks share, and one of each task's own."""

from methods.shared_private.autoencoder import Activation, Autoencoder, Bound
from methods.shared_private.learner import Learner
from methods.shared_private.network import SharedPrivateNetwork
from methods.shared_private.objective import Objective, Through
from methods.shared_private.options import Options
from methods.shared_private.past import Past, Rehearsed
from methods.shared_private.released import Prepended, released_batches, released_terms
from methods.shared_private.sizes import Layer, Sizes, sizes_of

__all__ = [
    "Activation",
    "Autoencoder",
    "Bound",
    "Layer",
    "Learner",
    "Objective",
    "Options",
    "Past",
    "Prepended",
    "Rehearsed",
    "SharedPrivateNetwork",
    "Sizes",
    "Through",
    "released_batches",
    "released_terms",
    "sizes_of",
]
