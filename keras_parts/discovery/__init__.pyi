from .clusters import find_clusters
from .model import OBJECTIVES, PartDiscovery, Views
from .standardiser import Standardiser, fit_standardiser
from .teachers import TEACHERS, Teacher, create_teacher
from .views import ViewSettings

__all__ = [
    "OBJECTIVES",
    "PartDiscovery",
    "Standardiser",
    "TEACHERS",
    "Teacher",
    "ViewSettings",
    "Views",
    "create_teacher",
    "find_clusters",
    "fit_standardiser",
]
