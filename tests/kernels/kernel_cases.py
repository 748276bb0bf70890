"""Cells, and points to map into them, of which the compiled kernels and torch have to agree."""

from __future__ import annotations

import torch

from tessflow.geometry import Tessellation
from tessflow.kernels import native
from tessflow.transforms import CellTransform, Softsign, TruncatedGaussian

PROFILES = (Softsign, TruncatedGaussian)


class Case:
    """Cells, and points to map into them."""

    def __init__(self, shape, *, box=False, masked=False, wide=False, seed=0):
        b, n, k, d = shape
        torch.manual_seed(seed)
        self.anchors, self.x = torch.randn(n, k, d), torch.randn(b, n, d)
        self.mask = None
        if masked:
            self.mask = torch.rand(n, k) < 0.7
            self.mask[:, 0] = True
        exists = torch.ones(n, k) if self.mask is None else self.mask.float()
        self.index = torch.multinomial(exists, b, replacement=True).T
        self.scale = (0.3 * torch.randn(b, n)).exp()
        self.walls = (-4.5 - torch.rand(n, d), 4.5 + torch.rand(n, d)) if box else (None, None)
        self.of_z, self.of_log_det = torch.randn(b, n, d), torch.randn(b, n)
        if wide:  # points that float32 does not have
            noise = 1 + 1e-9 * torch.randn(b, n, d, dtype=torch.float64)
            self.x, self.of_z, self.of_log_det = self.x * noise, self.of_z.double(), self.of_log_det.double()

    def cells(self, anchors=None, walls=None):
        return Tessellation(self.anchors if anchors is None else anchors, *(walls or self.walls), self.mask)

    def results(self, profile, *, inverse):
        """Points, log-determinants, and the gradients of all that has one."""
        x = self.x
        if inverse:
            with torch.no_grad(), native.disabled():
                x = CellTransform(self.cells(), self.index, profile=TruncatedGaussian(self.scale))(x)
                if x.dtype == torch.float64:  # not so near the walls that even float64 has few digits
                    x = x.lerp(self.anchors[torch.arange(len(self.anchors)), self.index].double(), 0.1)
        given = (x, self.scale, self.anchors, *self.walls)
        x, scale, anchors, *walls = (None if t is None else t.clone().requires_grad_() for t in given)
        leaves = [t for t in (x, scale, anchors, *walls) if t is not None]
        transform = CellTransform(self.cells(anchors, walls), self.index, profile=profile(scale))
        z, log_det = transform.inv.call_and_ladj(x) if inverse else transform.call_and_ladj(x)
        return z, log_det, *torch.autograd.grad([z, log_det], leaves, [self.of_z, self.of_log_det])

    def beside_torchs(self, profile, *, inverse):
        """Each result, and torch's own."""
        found = self.results(profile, inverse=inverse)
        with native.disabled():
            return zip(found, self.results(profile, inverse=inverse), strict=True)
