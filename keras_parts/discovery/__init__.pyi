from .clusters import find_clusters
from .losses import LOSSES, Loss, create_loss, create_losses
from .model import PartDiscovery
from .standardiser import Standardiser, fit_standardiser
from .teachers import TEACHERS, Teacher, as_teacher, create_teacher
from .transforms import ViewTransforms
from .views import Views

__all__ = [
    "LOSSES",
    "Loss",
    "PartDiscovery",
    "Standardiser",
    "TEACHERS",
    "Teacher",
    "ViewTransforms",
    "Views",
    "as_teacher",
    "create_loss",
    "create_losses",
    "create_teacher",
    "find_clusters",
    "fit_standardiser",
]
