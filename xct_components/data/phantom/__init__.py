"""A procedural adult thorax: parameters drawn from published ranges, rendered to HU and labels on any grid."""

from xct_components.data.phantom.labels import LABELS
from xct_components.data.phantom.parameters import ThoraxParameters
from xct_components.data.phantom.population import draw_thorax
from xct_components.data.phantom.render import Thorax, lung_volume_ml, random_thorax, render_thorax

__all__ = ["LABELS", "Thorax", "ThoraxParameters", "draw_thorax", "lung_volume_ml", "random_thorax", "render_thorax"]
