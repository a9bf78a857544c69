#include "backends/module.hpp"
#include "backends/sink/module/entry.hpp"
#include "backends/sink/writers.hpp"

#include <dlfcn.h>

namespace troupe {
namespace {

const outcome<void*>& module() {
  static const outcome<void*> loaded = load_module("troupe-sinks.so", "Webhook and NATS sinks");
  return loaded;
}

class missing_module final : public sink_writer {
public:
  sink_progress write(std::span<const sink_record>) override { return {0, module().error()}; }
  void stop() override {}
};

template <class Entry, class... Args>
std::unique_ptr<sink_writer> make(const char* name, const Args&... args) {
  if (!module()) return std::make_unique<missing_module>();
  return std::unique_ptr<sink_writer>{reinterpret_cast<Entry*>(dlsym(*module(), name))(args...)};
}

} // namespace

std::unique_ptr<sink_writer> make_webhook_sink(const config_map& config) {
  return make<decltype(troupe_make_webhook_sink)>("troupe_make_webhook_sink", config);
}

std::unique_ptr<sink_writer> make_nats_sink(const std::string& name, const config_map& config) {
  return make<decltype(troupe_make_nats_sink)>("troupe_make_nats_sink", name, config);
}

bool is_sink_url(const std::string& value, std::initializer_list<std::string_view> schemes, bool with_path) {
  if (!module()) return false;
  auto* fits = reinterpret_cast<decltype(troupe_url_fits)*>(dlsym(*module(), "troupe_url_fits"));
  return fits(value, {schemes.begin(), schemes.size()}, with_path);
}

outcome<void> check_network_sinks() {
  if (!module()) return tl::unexpected{module().error()};
  return {};
}

} // namespace troupe
