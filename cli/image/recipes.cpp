#include "cli/image/recipe.hpp"

#include <sys/utsname.h>

namespace troupe {

std::span<const recipe> recipes() noexcept {
  static constexpr recipe table[] = {
      {"busybox", cook_busybox},
      {"debian/12", cook_debian12},
  };
  return table;
}

std::string machine_architecture() {
  utsname facts{};
  return ::uname(&facts) == 0 ? facts.machine : "unknown";
}

} // namespace troupe
