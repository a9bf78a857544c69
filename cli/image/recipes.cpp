#include "cli/image/recipe.hpp"

#include "cli/child.hpp"

#include <sys/utsname.h>

namespace troupe {

std::span<const recipe> recipes() noexcept {
  static constexpr recipe table[] = {
      {"busybox", cook_busybox, cook_busybox_machine},
      {"debian/12", cook_debian12, cook_debian12_machine},
  };
  return table;
}

outcome<std::string> run_tool(const kitchen& in, std::vector<std::string> arguments, const char* package) {
  auto program = arguments.front();
  auto done =
      run_child({.arguments = std::move(arguments), .environment = {"LC_ALL=C", "MTOOLS_SKIP_CHECK=1"}}, in.stop);
  if (!done && done.error().code == fault::not_found)
    return fail(fault::unsupported, "The program " + program + " is missing: install the package " + package);
  if (!done) return tl::unexpected{done.error()};
  if (done->exit_code != 0)
    return fail(fault::backend_failed,
                program + " ended with exit code " + std::to_string(done->exit_code) + ":\n" + done->last_errors);
  return std::move(done->output);
}

std::string machine_architecture() {
  utsname facts{};
  return ::uname(&facts) == 0 ? facts.machine : "unknown";
}

} // namespace troupe
