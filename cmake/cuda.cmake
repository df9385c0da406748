# The CUDA toolkit, the architectures to build for, and FlashInfer's headers.
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

# FlashInfer is a Python package of which only headers are wanted: its archive is fetched by name and hash with pip and
# unpacked; nothing is installed.
set(flashinfer_dir ${CMAKE_BINARY_DIR}/flashinfer)
file(SHA256 ${CMAKE_SOURCE_DIR}/third_party/flashinfer.txt flashinfer_pin)
if(NOT EXISTS ${flashinfer_dir}/${flashinfer_pin})
  find_package(Python3 REQUIRED COMPONENTS Interpreter)
  file(REMOVE_RECURSE ${flashinfer_dir})
  execute_process(
    COMMAND ${Python3_EXECUTABLE} -m pip download --quiet --no-deps --only-binary :all: --require-hashes
      --disable-pip-version-check -r ${CMAKE_SOURCE_DIR}/third_party/flashinfer.txt -d ${flashinfer_dir}
    RESULT_VARIABLE failed)
  file(GLOB flashinfer_archive ${flashinfer_dir}/*.whl)
  if(failed OR NOT flashinfer_archive)
    message(FATAL_ERROR "pip could not fetch the package that third_party/flashinfer.txt names")
  endif()
  file(ARCHIVE_EXTRACT INPUT ${flashinfer_archive} DESTINATION ${flashinfer_dir}
    PATTERNS "flashinfer/data/include/*" "flashinfer/data/cutlass/include/*" "flashinfer/data/cccl/*/include/*"
      "flashinfer/data/cccl/cub/cub/*" "flashinfer/data/cccl/thrust/thrust/*")
  file(REMOVE ${flashinfer_archive})
  file(TOUCH ${flashinfer_dir}/${flashinfer_pin})
endif()
set(flashinfer_data ${flashinfer_dir}/flashinfer/data)
add_library(quire_flashinfer INTERFACE)
# Plain -I: its CCCL must come before the toolkit's, which is on the system path.
target_include_directories(quire_flashinfer INTERFACE ${flashinfer_data}/include ${flashinfer_data}/cutlass/include
  ${flashinfer_data}/cccl/libcudacxx/include ${flashinfer_data}/cccl/cub ${flashinfer_data}/cccl/thrust)
