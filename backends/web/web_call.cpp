#include "backends/web/web_call.hpp"

#include "backends/module.hpp"
#include "backends/web/module/entry.hpp"

#include <dlfcn.h>

namespace troupe {

outcome<web_answer> call_web(const web_call& call, const cancel_token& stop) {
  static const outcome<void*> module = load_module("troupe-web.so", "Identity providers");
  if (!module) return tl::unexpected{module.error()};
  auto* entry = reinterpret_cast<decltype(troupe_call_web)*>(dlsym(*module, "troupe_call_web"));
  outcome<web_answer> out;
  entry(call, stop, out);
  return out;
}

} // namespace troupe
