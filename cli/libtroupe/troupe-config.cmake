include(CMakeFindDependencyMacro)
find_dependency(CapnProto)
find_dependency(nlohmann_json)
include(${CMAKE_CURRENT_LIST_DIR}/troupe-targets.cmake)
