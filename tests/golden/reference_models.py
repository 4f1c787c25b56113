# SPDX-License-Identifier: Apache-2.0
"""The networks of the goldens in PyTorch, with residual branches that can really be dropped.

Parameter names are those of torchvision (ResNet) and timm (ViT): the switches are plain Python
attributes and leave `state_dict` as it is. A dropped branch is not computed at all, so its batch
norm statistics do not move and its parameters get no gradient (`None`). A branch that some samples
keep is computed on those alone: they are gathered, and the result is scattered (timm computes all
and masks, which under batch norm is another function).
"""

import re
from collections.abc import Callable

import timm
import torch
import torch.nn.functional as F
import torchvision
from timm.models.vision_transformer import Block
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock, Bottleneck, ResNet

TORCHVISION_DEPTHS = (18, 34, 50, 101, 152)


class Branch:
    """Switch of one residual branch: the unit that stochastic depth decides on."""

    def __init__(self) -> None:
        self.kept = True
        self.places: Tensor | None = None  # in training: of the samples that keep it; None: all do
        self.rate = 0.0
        self.scale = "inference"

    def add(self, x: Tensor, shortcut: Tensor, branch: Callable[[Tensor], Tensor], training: bool) -> Tensor:
        """shortcut + branch(x), scaled by the convention; the shortcut alone if dropped."""
        if training and not self.kept:
            return shortcut
        if training and self.places is not None:
            some = branch(x[self.places])
            if self.scale == "training":
                some = some / (1.0 - self.rate)
            return shortcut.index_add(0, self.places, some)
        if training and self.scale == "training":
            return shortcut + branch(x) / (1.0 - self.rate)
        if not training and self.scale == "inference":
            return shortcut + branch(x) * (1.0 - self.rate)
        return shortcut + branch(x)


class FewValuesBatchNorm(nn.BatchNorm2d):
    """Batch norm that takes a single value a channel in training: by its running statistics, as constants."""

    def forward(self, x: Tensor) -> Tensor:
        if self.training and x.numel() // x.shape[1] < 2:
            return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias,
                                training=False, eps=self.eps)  # fmt: skip
        return super().forward(x)


def take_few_values(model: nn.Module) -> None:
    """Makes all batch norms of a model ones that take a single value."""
    for module in model.modules():
        if type(module) is nn.BatchNorm2d:
            module.__class__ = FewValuesBatchNorm


class DropBasicBlock(BasicBlock):
    """torchvision's basic block; relu after the sum and the shortcut stay when it is dropped."""

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self.branches = (Branch(),)

    def residual(self, x: Tensor) -> Tensor:
        x = F.relu(self.bn1(self.conv1(x)))
        return self.bn2(self.conv2(x))

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        return F.relu(self.branches[0].add(x, shortcut, self.residual, self.training))


class DropBottleneck(Bottleneck):
    """torchvision's bottleneck (v1.5: the stride is in the 3x3 convolution)."""

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self.branches = (Branch(),)

    def residual(self, x: Tensor) -> Tensor:
        x = F.relu(self.bn1(self.conv1(x)))
        x = F.relu(self.bn2(self.conv2(x)))
        return self.bn3(self.conv3(x))

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        return F.relu(self.branches[0].add(x, shortcut, self.residual, self.training))


class DropViTBlock(Block):
    """timm's pre-norm transformer block; attention and MLP are dropped apart."""

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self.branches = (Branch(), Branch())

    def forward(self, x: Tensor, attn_mask: Tensor | None = None, is_causal: bool = False) -> Tensor:
        attention, mlp = self.branches
        x = attention.add(
            x,
            x,
            lambda x: self.attn(self.norm1(x), attn_mask=attn_mask, is_causal=is_causal),
            self.training,
        )
        return mlp.add(x, x, lambda x: self.mlp(self.norm2(x)), self.training)


class DropViTLayer(Block):
    """timm's transformer block, dropped as a whole and never scaled, as a layer in fairseq's LayerDropModuleList."""

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self.branches = (Branch(),)

    def forward(self, x: Tensor, attn_mask: Tensor | None = None, is_causal: bool = False) -> Tensor:
        if self.training and not self.branches[0].kept:
            return x
        return super().forward(x, attn_mask=attn_mask, is_causal=is_causal)


class OptionAShortcut(nn.Module):
    """CIFAR shortcut of He et al. 2016: subsample by 2, append zero channels. No parameters."""

    def __init__(self, new_channels: int) -> None:
        super().__init__()
        self.new_channels = new_channels

    def forward(self, x: Tensor) -> Tensor:
        return F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 0, self.new_channels))


class CifarResNet(nn.Module):
    """ResNet of depth 6n+2 with 16/32/64 channels (He et al. 2016, section 4.2)."""

    def __init__(self, depth: int, classes: int) -> None:
        super().__init__()
        blocks = (depth - 2) // 6
        self.conv1 = nn.Conv2d(3, 16, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.layer1 = self.stage(16, 16, blocks)
        self.layer2 = self.stage(16, 32, blocks)
        self.layer3 = self.stage(32, 64, blocks)
        self.fc = nn.Linear(64, classes)

    @staticmethod
    def stage(channels_in: int, channels: int, blocks: int) -> nn.Sequential:
        if channels_in == channels:
            first = DropBasicBlock(channels, channels)
        else:
            shortcut = OptionAShortcut(channels - channels_in)
            first = DropBasicBlock(channels_in, channels, stride=2, downsample=shortcut)
        return nn.Sequential(first, *(DropBasicBlock(channels, channels) for _ in range(blocks - 1)))

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.fc(x.mean(dim=(2, 3)))


def torchvision_resnet(depth: int, classes: int, cifar_stem: bool) -> ResNet:
    """torchvision.models.resnet<depth> with switchable blocks."""
    layers = {
        18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)
    }  # fmt: skip
    block = DropBasicBlock if depth < 50 else DropBottleneck
    model = ResNet(block, list(layers[depth]), num_classes=classes)
    original = torchvision.models.get_model(f"resnet{depth}", num_classes=classes)
    assert list(model.state_dict()) == list(original.state_dict())
    if cifar_stem:
        model.conv1 = nn.Conv2d(3, 64, 3, stride=1, padding=1, bias=False)
        model.maxpool = nn.Identity()
    return model


def build(name: str, classes: int, image_size: int, patch_size: int = 4,
          cifar_stem: bool = False, layers: bool = False) -> nn.Module:  # fmt: skip
    """A network by the project's model name: resnet<depth> or vit_tiny|small|base; layers: a ViT's blocks are dropped whole."""
    if re.fullmatch(r"vit_(tiny|small|base)", name):
        return timm.create_model(
            f"{name}_patch16_224", img_size=image_size, patch_size=patch_size,
            num_classes=classes, block_fn=DropViTLayer if layers else DropViTBlock,
        )  # fmt: skip
    match = re.fullmatch(r"resnet(\d+)", name)
    depth = int(match[1]) if match else 0
    if depth in TORCHVISION_DEPTHS:
        return torchvision_resnet(depth, classes, cifar_stem)
    if depth >= 8 and depth % 6 == 2:
        return CifarResNet(depth, classes)
    raise ValueError(f"unknown model {name!r}")


def residual_blocks(model: nn.Module) -> list[nn.Module]:
    """The residual blocks from the input to the output."""
    return [module for module in model.modules() if hasattr(module, "branches")]


def branches_of(model: nn.Module) -> list[Branch]:
    """The decision units from the input to the output."""
    return [branch for block in residual_blocks(model) for branch in block.branches]


def set_linear_rates(model: nn.Module, rate: float, scale: str) -> None:
    """p_l = l/L * rate for the blocks l = 1..L (Huang et al. 2016, eq. 4), and the convention."""
    blocks = residual_blocks(model)
    for place, block in enumerate(blocks, start=1):
        for branch in block.branches:
            branch.rate = place / len(blocks) * rate
            branch.scale = scale


def set_constant_rates(model: nn.Module, rate: float, scale: str) -> None:
    """p_l = rate, and the convention."""
    for branch in branches_of(model):
        branch.rate, branch.scale = rate, scale
