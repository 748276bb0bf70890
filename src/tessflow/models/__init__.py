"""What has a log-probability."""

from tessflow.models.dequantized import DequantizedFlow
from tessflow.models.matched import MatchedFlow

__all__ = ["DequantizedFlow", "MatchedFlow"]
