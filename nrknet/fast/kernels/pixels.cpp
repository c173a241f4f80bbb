// All kernels but convolutions.

#include "blur.h"
#include "elements.h"
#include "evidence.h"
