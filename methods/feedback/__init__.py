"""Networks with feedback connections, which draw what they have learnt to tell apart."""

from methods.feedback.class_prior import ClassPrior, Code, StandardPrior
from methods.feedback.config import FeedbackConfig
from methods.feedback.decoder import Decoder, draw_gates
from methods.feedback.draws import asked, each_class, labelled
from methods.feedback.network import Feedback, FeedbackNetwork, mirrored_widths
from methods.feedback.past import Past, Rehearsed, distillation

__all__ = [
    "ClassPrior",
    "Code",
    "Decoder",
    "Feedback",
    "FeedbackConfig",
    "FeedbackNetwork",
    "Past",
    "Rehearsed",
    "StandardPrior",
    "asked",
    "distillation",
    "draw_gates",
    "each_class",
    "labelled",
    "mirrored_widths",
]
