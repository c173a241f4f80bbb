// All kernels, compiled in one go when they are first used (nrknet/fast/compiler.py).

#include "blur.h"
#include "convolution.h"
#include "elements.h"
#include "evidence.h"
