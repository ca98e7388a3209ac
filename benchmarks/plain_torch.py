"""The paper's training step as a plain PyTorch program, with which the package is compared.

The networks, random transforms, losses and optimiser are those of the recipe "paper". They are
written as they are defined, eager, in float32: features are upsampled to the image, and losses
compute arrays (image, part, channel, height, width). The package does not use this program.
"""

import math

import torch
import torch.nn.functional as F
from torch import nn

STAGES = ((64, 3, 1, 1), (128, 4, 2, 1), (256, 6, 1, 2), (512, 3, 1, 4))  # stride, dilation
VGG19 = (64, 64, "M", 128, 128, "M", 256, 256, 256, 256, "M", 512, 512, 512, 512, "M", 512, 512,
         512, 512)  # fmt: skip
RELU3_2, RELU5_4 = 13, 35  # indices of these layers in the network below
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
WEIGHTS = {"feature": 30.0, "visual": 30.0, "contrastive": 2300.0, "equivariance": 5700.0,
           "foreground": 1000.0}  # fmt: skip


class Bottleneck(nn.Module):
    """ResNet's block with the stride on the first convolution."""

    def __init__(self, inputs, channels, stride, dilation):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(inputs, channels, 1, stride, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(inplace=True),
            nn.Conv2d(channels, channels, 3, 1, dilation, dilation, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(inplace=True),
            nn.Conv2d(channels, 4 * channels, 1, bias=False),
            nn.BatchNorm2d(4 * channels),
        )
        self.shortcut = nn.Identity()
        if stride != 1 or inputs != 4 * channels:
            self.shortcut = nn.Sequential(
                nn.Conv2d(inputs, 4 * channels, 1, stride, bias=False),
                nn.BatchNorm2d(4 * channels),
            )

    def forward(self, x):
        return F.relu(self.body(x) + self.shortcut(x))


class Segmenter(nn.Module):
    """ResNet-50 at output stride 8 and four dilated convolutions on its last 1024 channels.

    It computes K part logits, then one foreground logit.
    """

    def __init__(self, parts):
        super().__init__()
        blocks, inputs = [], 64
        for channels, count, stride, dilation in STAGES:
            for block in range(count):
                blocks.append(Bottleneck(inputs, channels, stride if block == 0 else 1, dilation))
                inputs = 4 * channels
        self.backbone = nn.Sequential(
            nn.Conv2d(3, 64, 7, 2, 3, bias=False),
            nn.BatchNorm2d(64),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(3, 2, 1, ceil_mode=True),
            *blocks,
        )
        self.head = nn.ModuleList(
            nn.Conv2d(1024, 1 + parts, 3, padding=rate, dilation=rate) for rate in (6, 12, 18, 24)
        )
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):  # only its statistics are updated
                module.weight.requires_grad_(False)
                module.bias.requires_grad_(False)

    def forward(self, images):
        features = self.backbone(images)[:, -1024:]
        return sum(convolution(features) for convolution in self.head)


class Teacher(nn.Module):
    """VGG19's relu3_2 x 0.33 and relu5_4, upsampled to the image and concatenated."""

    def __init__(self):
        super().__init__()
        layers, inputs = [], 3
        for channels in VGG19:
            if channels == "M":
                layers.append(nn.MaxPool2d(2))
            else:
                layers += [nn.Conv2d(inputs, channels, 3, padding=1), nn.ReLU(inplace=True)]
                inputs = channels
        self.layers = nn.Sequential(*layers)
        self.register_buffer("mean", torch.tensor(MEAN)[:, None, None])
        self.register_buffer("std", torch.tensor(STD)[:, None, None])

    @torch.no_grad()
    def maps(self, images):
        x, maps = (images - self.mean) / self.std, []
        for index, layer in enumerate(self.layers):
            x = layer(x)
            if index in (RELU3_2, RELU5_4):
                maps.append(x)
        return maps

    def forward(self, images):
        shallow, deep = self.maps(images)
        return torch.cat([upsampled(0.33 * shallow, images), upsampled(deep, images)], 1)


def upsampled(maps, images):
    return F.interpolate(maps, images.shape[-2:], mode="bilinear", align_corners=True)


class PlainStep:
    """One step of the paper's training.

    Args:
        parts: number of parts.
        device: of PyTorch.
    """

    def __init__(self, parts=4, device="cpu"):
        self.segmenter = Segmenter(parts).to(device).train()
        self.teacher = Teacher().to(device).eval()
        trained = [p for p in self.segmenter.parameters() if p.requires_grad]
        head = {id(p) for p in self.segmenter.head.parameters()}
        groups = [
            {"params": [p for p in trained if id(p) not in head], "lr": 1e-5},
            {"params": [p for p in trained if id(p) in head], "lr": 1e-4},
        ]
        self.trained = trained
        self.optimizer = torch.optim.SGD(groups, momentum=0.9, weight_decay=5e-4)

    def __call__(self, images, foreground):
        """Train on images `(batch, 3, height, width)`, RGB in [0, 1], and foreground masks
        `(batch, 1, height, width)`.

        Returns:
            The loss, a tensor.
        """
        loss = self.loss(images, foreground)
        self.optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.trained, 5.0)
        self.optimizer.step()
        return loss.detach()

    def loss(self, images, foreground):
        losses = self.losses(images, foreground)
        return sum(WEIGHTS[name] * value for name, value in losses.items())

    def losses(self, images, foreground):
        points = random_source_points(len(images), images.device)
        grid = thin_plate_grid(points, images.shape[-2:])
        first, second = jitter(images), warped(jitter(images), grid)
        logits, warped_logits = (upsampled(self.segmenter(v), images) for v in (first, second))
        warped_foreground = warped(foreground, grid)
        parts, own = logits[:, :-1], logits[:, -1:]
        masks = parts.softmax(1) * foreground
        features = self.teacher(images)
        return {
            "feature": within_part_variance(masks, foreground, features),
            "visual": within_part_variance(masks, foreground, lab(images)),
            "contrastive": contrastive(part_descriptors(masks, features)),
            "equivariance": equivariance(
                warped(parts, grid).detach(), warped_logits[:, :-1], warped_foreground
            ),
            "foreground": 0.5
            * (
                F.binary_cross_entropy_with_logits(own, foreground)
                + F.binary_cross_entropy_with_logits(warped_logits[:, -1:], warped_foreground)
            ),
        }


class PlainNetworks(PlainStep):
    """The networks of `PlainStep`, trained in the same way on a loss that takes no time."""

    def loss(self, images, foreground):
        self.teacher.maps(images)
        return 1e-9 * sum(self.segmenter(view).square().mean() for view in (images, images))


def within_part_variance(masks, foreground, features):
    """Mean over images of sum_k sum_u m_k |phi - mu_k|^2 / sum_u F."""
    masks, features = masks[:, :, None], features[:, None]
    means = (masks * features).sum((3, 4)) / (masks.sum((3, 4)) + 1e-5)
    squared = masks * (features - means[..., None, None]) ** 2
    return (squared.sum((1, 2, 3, 4)) / (foreground.sum((1, 2, 3)) + 1e-5)).mean()


def part_descriptors(masks, features):
    """Mean feature of every part, (batch, parts, channels)."""
    masks = masks[:, :, None]
    return (masks * features[:, None]).sum((3, 4)) / (masks.sum((3, 4)) + 1e-7)


def contrastive(descriptors, temperature=0.19):
    """Cross-entropy of every positive against all descriptors of other parts."""
    batch, parts = descriptors.shape[:2]
    z = F.normalize(descriptors, dim=-1, eps=1e-6)
    similarity = torch.einsum("nkc,jqc->nkjq", z, z) / temperature
    same = torch.eye(parts, dtype=torch.bool, device=z.device)[None, :, None, :]
    negatives = similarity.masked_fill(same, -1e9).logsumexp((2, 3))[..., None]
    positives = torch.diagonal(similarity.permute(0, 2, 1, 3), dim1=2, dim2=3).transpose(1, 2)
    entropy = torch.logaddexp(positives, negatives) - positives
    others = ~torch.eye(batch, dtype=torch.bool, device=z.device)[:, None, :]
    return (entropy * others).sum(-1).div(batch - 1).mean()


def equivariance(target, prediction, foreground):
    """KL of the warped first view and the second, over the warped foreground."""
    divergence = F.kl_div(
        prediction.log_softmax(1), target.log_softmax(1), reduction="none", log_target=True
    ).sum(1, keepdim=True)
    area = foreground.sum((1, 2, 3)) + 1e-7
    return ((divergence * foreground).sum((1, 2, 3)) / area).mean()


def warped(images, grid):
    return F.grid_sample(images, grid, align_corners=True)


def random_source_points(batch, device):
    """The points that the paper's random splines map to the control points, (batch, 25, 2)."""

    def uniform(*shape, low, high):
        return torch.empty(shape, device=device).uniform_(low, high)

    control = _control_points(device)
    points = control + uniform(batch, len(control), 2, low=-0.01, high=0.01)
    angle = uniform(batch, low=-math.pi / 3, high=math.pi / 3)
    turn = torch.stack([angle.cos(), -angle.sin(), angle.sin(), angle.cos()], -1)
    points = points @ turn.reshape(batch, 2, 2).transpose(1, 2)
    points = points * uniform(batch, 1, 1, low=1 / 2.0, high=1 / 0.7)
    return points + uniform(batch, 1, 2, low=-0.1, high=0.1)


def thin_plate_grid(points, size):
    """Sampling grid (batch, height, width, 2) of the splines through these points."""
    control = _control_points(points.device)
    affine = torch.cat([torch.ones_like(control[:, :1]), control], 1)
    count = len(control)
    system = torch.zeros(count + 3, count + 3, device=points.device)
    system[:count, :count] = _radial(control, control)
    system[:count, count:], system[count:, :count] = affine, affine.T
    known = torch.cat([points, points.new_zeros(len(points), 3, 2)], 1)
    coefficients = torch.linalg.solve(system, known)
    lines = (torch.linspace(-1, 1, side, device=points.device) for side in size)
    y, x = torch.meshgrid(*lines, indexing="ij")
    pixels = torch.stack([x, y], -1).reshape(-1, 2)
    values = torch.cat([_radial(pixels, control), torch.ones_like(pixels[:, :1]), pixels], 1)
    return (values @ coefficients).reshape(len(points), *size, 2)


def _control_points(device, side=5):
    line = torch.linspace(-1, 1, side, device=device)
    return torch.stack(torch.meshgrid(line, line, indexing="ij"), -1).reshape(-1, 2)


def _radial(points, control):
    squared = ((points[:, None] - control) ** 2).sum(-1)
    return squared * torch.where(squared > 0, squared, torch.ones_like(squared)).log()


def jitter(images):
    """Per image, the paper's colour jitter with probability 0.8, then grey with probability 0.2."""
    shape = (len(images), 1, 1, 1)

    def uniform(low, high):
        return torch.empty(shape, device=images.device).uniform_(low, high)

    def blended(first, second, factor):
        return (factor * first + (1 - factor) * second).clamp(0, 1)

    x = (images * uniform(0.7, 1.3)).clamp(0, 1)
    x = blended(x, grey(x).mean((1, 2, 3), keepdim=True), uniform(0.7, 1.3))
    x = blended(x, grey(x), uniform(0.8, 1.2))
    x = shifted_hue(x, uniform(-0.2, 0.2)[:, 0])
    x = torch.where(uniform(0, 1) < 0.8, x, images)
    return torch.where(uniform(0, 1) < 0.2, grey(x).expand_as(x), x)


def grey(images):
    return (images * images.new_tensor([0.299, 0.587, 0.114])[:, None, None]).sum(1, keepdim=True)


def shifted_hue(images, turns):
    red, green, blue = images.unbind(1)
    value, low = images.amax(1), images.amin(1)
    chroma = value - low
    safe = torch.where(chroma > 0, chroma, torch.ones_like(chroma))
    hue = torch.where(
        value == red,
        (green - blue) / safe,
        torch.where(value == green, 2 + (blue - red) / safe, 4 + (red - green) / safe),
    )
    hue = hue + 6 * turns

    def channel(offset):
        sextant = torch.remainder(offset + hue, 6)
        return value - chroma * torch.minimum(sextant, 4 - sextant).clamp(0, 1)

    return torch.stack([channel(5.0), channel(3.0), channel(1.0)], 1)


def lab(images):
    """CIE Lab, D65."""
    x = images.movedim(1, -1)
    linear = torch.where(x > 0.04045, ((x.clamp(min=0.04045) + 0.055) / 1.055) ** 2.4, x / 12.92)
    matrix = x.new_tensor(
        [
            [0.412453, 0.357580, 0.180423],
            [0.212671, 0.715160, 0.072169],
            [0.019334, 0.119193, 0.950227],
        ]
    )
    xyz = linear @ (matrix / x.new_tensor([0.95047, 1.0, 1.08883])[:, None]).T
    root = xyz.clamp(min=0.008856) ** (1 / 3)
    f = torch.where(xyz > 0.008856, root, 7.787 * xyz + 16 / 116)
    x, y, z = f.unbind(-1)
    return torch.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], 1)
