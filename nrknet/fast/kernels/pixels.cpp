// All kernels but convolutions.

#include "blur.h"
#include "coefficients.h"
#include "elements.h"
#include "evidence.h"
#include "join.h"
