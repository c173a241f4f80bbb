"""Deblur a photo with ONNX Runtime, NumPy and Pillow alone: python onnx_deblur.py NETWORK.onnx PHOTO OUTPUT.png"""

import sys

import numpy as np
import onnxruntime
from PIL import Image, ImageOps

network, source, target = sys.argv[1:]
session = onnxruntime.InferenceSession(network, providers=["CPUExecutionProvider"])

photo = ImageOps.exif_transpose(Image.open(source)).convert("RGB")
blurred = np.asarray(photo, np.float32).transpose(2, 0, 1)[None] / 255
image, radius = session.run(["image", "radius"], {"blurred": blurred})

pixels = (image[0].clip(0, 1) * 255).round().astype(np.uint8)
Image.fromarray(pixels.transpose(1, 2, 0)).save(target)
print(f"blur radius: {radius.mean():.2f} pixels on average, {radius.max():.2f} at most")
