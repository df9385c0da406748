# quire_module(name DEPENDS … LIBRARIES …): the folder of that name as a static library quire_<name>, and its
# *_test.cpp as the test program <name>_test. DEPENDS are modules, as layers.txt allows them.
add_library(quire_options INTERFACE)
target_include_directories(quire_options INTERFACE ${CMAKE_SOURCE_DIR}/src ${CMAKE_SOURCE_DIR}/include)
target_compile_options(quire_options INTERFACE $<$<COMPILE_LANGUAGE:CXX>:-Wall -Wextra -Wpedantic -Werror -Wshadow
  -Wconversion -Wnon-virtual-dtor -Woverloaded-virtual -fno-math-errno -ffp-contract=off>
  $<$<COMPILE_LANG_AND_ID:CXX,GNU>:-Wno-restrict>)  # g++ 12 finds overlaps in "text" + string where there are none (GCC bug 105329)
target_compile_definitions(quire_options INTERFACE _GLIBCXX_ASSERTIONS
  QUIRE_VERSION="${PROJECT_VERSION}")
if(QUIRE_SANITIZE)
  target_compile_options(quire_options INTERFACE -fsanitize=${QUIRE_SANITIZE} -fno-sanitize-recover=all
    -fno-omit-frame-pointer)
  target_link_options(quire_options INTERFACE -fsanitize=${QUIRE_SANITIZE})
endif()

function(quire_module name)
  cmake_parse_arguments(ARG "" "" "DEPENDS;LIBRARIES;SOURCES" ${ARGN})
  file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/${name}/*.cpp)
  set(tests ${sources})
  list(FILTER sources EXCLUDE REGEX "_test\\.cpp$")
  list(FILTER tests INCLUDE REGEX "_test\\.cpp$")
  if(NOT sources)
    message(STATUS "module ${name} has no sources yet")
    return()
  endif()
  add_library(quire_${name} STATIC ${sources} ${ARG_SOURCES})
  set(modules ${ARG_DEPENDS})
  list(TRANSFORM modules PREPEND quire_)
  target_link_libraries(quire_${name} PUBLIC quire_options ${modules} ${ARG_LIBRARIES})
  if(QUIRE_TESTS AND tests)
    add_executable(${name}_test ${tests})
    target_link_libraries(${name}_test PRIVATE quire_${name} GTest::gtest GTest::gtest_main)
    target_compile_definitions(${name}_test PRIVATE QUIRE_SOURCE_DIR="${CMAKE_SOURCE_DIR}")
    add_test(NAME ${name} COMMAND ${name}_test)
    set_tests_properties(${name} PROPERTIES TIMEOUT 300)
  endif()
endfunction()
