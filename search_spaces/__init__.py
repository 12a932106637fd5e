"""What can be tried: students, distillation, pruning and quantization as one conditional space.

This room knows no task, no device and no sampler; it imports torch only when a student is built.
"""

from search_spaces.candidate import Candidate, Scalar
from search_spaces.compression import SCHEMES
from search_spaces.dimension import TrialLike
from search_spaces.family import Family, PrunePlan, families, load_family
from search_spaces.inputs import ImageInput, TaskInput, TextInput
from search_spaces.reading import available, load
from search_spaces.recipes import recipes
from search_spaces.space import IDENTITY, SearchSpace
from search_spaces.values import SpaceError

__all__ = [
    "IDENTITY",
    "SCHEMES",
    "Candidate",
    "Family",
    "ImageInput",
    "PrunePlan",
    "Scalar",
    "SearchSpace",
    "SpaceError",
    "TaskInput",
    "TextInput",
    "TrialLike",
    "available",
    "families",
    "load",
    "load_family",
    "recipes",
]
