"""Synthetic images of the past: a flow over embeddings, and a decoder from there to images."""

from methods.pseudo_rehearsal.anchors import Anchors
from methods.pseudo_rehearsal.config import AutoencoderConfig, EmbeddingFlowConfig, ImagesConfig
from methods.pseudo_rehearsal.generator import EmbeddingGenerator

__all__ = [
    "Anchors",
    "AutoencoderConfig",
    "EmbeddingFlowConfig",
    "EmbeddingGenerator",
    "ImagesConfig",
]
