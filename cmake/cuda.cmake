# The CUDA toolkit and the architectures to build for.
#   QUIRE_CUDA_ARCHS  "90a" (a developer's build) or any list of 80 86 89 90a; the last of the Ampere family is kept as
#                     PTX too, so that newer GPUs start.
set(QUIRE_CUDA_ARCHS "80;86;89;90a" CACHE STRING "Compute capabilities that the CUDA back end is built for")
unset(CMAKE_CUDA_ARCHITECTURES)
foreach(arch IN LISTS QUIRE_CUDA_ARCHS)
  if(NOT arch MATCHES "^(80|86|89|90a)$")
    message(FATAL_ERROR "QUIRE_CUDA_ARCHS: '${arch}' is none of 80, 86, 89, 90a")
  endif()
  list(APPEND CMAKE_CUDA_ARCHITECTURES ${arch}-real)
endforeach()
if("80" IN_LIST QUIRE_CUDA_ARCHS)
  list(APPEND CMAKE_CUDA_ARCHITECTURES 80-virtual)
endif()
set(CMAKE_CUDA_RUNTIME_LIBRARY Static)  # starts where there is no driver
enable_language(CUDA)
set(CMAKE_CUDA_STANDARD 20)
set(CMAKE_CUDA_EXTENSIONS OFF)
if(NOT DEFINED CMAKE_CUDA20_STANDARD_COMPILE_OPTION)  # CMake 3.25 does not know how nvcc spells it
  set(CMAKE_CUDA20_STANDARD_COMPILE_OPTION "-std=c++20")
  set(CMAKE_CUDA20_EXTENSION_COMPILE_OPTION "-std=c++20")
endif()
find_package(CUDAToolkit 12.4 REQUIRED)
