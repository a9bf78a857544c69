add_library(troupe_flags INTERFACE)
target_compile_options(troupe_flags INTERFACE -Wall -Wextra -Wno-missing-field-initializers -Wshadow -Wnon-virtual-dtor -Werror)
target_include_directories(troupe_flags INTERFACE ${CMAKE_SOURCE_DIR} ${CMAKE_BINARY_DIR})
target_compile_definitions(troupe_flags INTERFACE TROUPE_VERSION="${PROJECT_VERSION}")
if(TROUPE_SANITIZE)
  # g++ 12 sees ghosts in instrumented standard headers.
  target_compile_options(troupe_flags INTERFACE -fsanitize=${TROUPE_SANITIZE} -fno-omit-frame-pointer
    -Wno-maybe-uninitialized -Wno-array-bounds -Wno-stringop-overread -Wno-restrict)
  target_link_options(troupe_flags INTERFACE -fsanitize=${TROUPE_SANITIZE})
endif()

# A library of one folder: every .cpp below it (main programs are named main_*.cpp and stay out).
function(troupe_library folder)
  cmake_parse_arguments(arg "" "" "USES" ${ARGN})
  file(GLOB_RECURSE sources CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/*.cpp)
  list(FILTER sources EXCLUDE REGEX "/helper/|/guest/|/module/|/libtroupe/|/main_[a-z_]+\\.cpp$")
  add_library(troupe_${folder} STATIC ${sources})
  target_link_libraries(troupe_${folder} PUBLIC $<BUILD_INTERFACE:troupe_flags> ${arg_USES})
endfunction()

# CAF's templates at -O2 take twice as long to compile as at -O1 and run no faster: no hot loop lives in such a folder.
function(troupe_compile_fast target)
  target_compile_options(${target} PRIVATE $<$<CONFIG:Release>:-O1>)
endfunction()
