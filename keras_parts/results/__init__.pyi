from .legend import with_legend
from .objects import ObjectMap
from .page import write_page
from .palette import part_palette
from .part import Part
from .parts import Parts
from .pictures import contact_sheet, save_picture
from .rle import coco_rle

__all__ = [
    "ObjectMap",
    "Part",
    "Parts",
    "coco_rle",
    "contact_sheet",
    "part_palette",
    "save_picture",
    "with_legend",
    "write_page",
]
