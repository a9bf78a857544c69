#include "backends/module.hpp"

#include <dlfcn.h>
#include <filesystem>

namespace troupe {

outcome<void*> load_module(const std::string& file, const std::string& needed_by) {
  std::error_code failed;
  auto program = std::filesystem::read_symlink("/proc/self/exe", failed);
  if (auto* loaded = dlopen((program.parent_path() / file).c_str(), RTLD_NOW | RTLD_LOCAL)) return loaded;
  auto* why = dlerror();
  return fail(fault::unsupported, needed_by + " need " + file + ", which cannot be loaded: " + (why ? why : ""));
}

} // namespace troupe
