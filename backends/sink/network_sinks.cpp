#include "backends/sink/module/entry.hpp"
#include "backends/sink/writers.hpp"

#include <dlfcn.h>
#include <filesystem>

namespace troupe {
namespace {

// Beside the program, like the helpers.
void* module() {
  static void* const loaded = [] {
    std::error_code failed;
    auto program = std::filesystem::read_symlink("/proc/self/exe", failed);
    return failed ? nullptr : dlopen((program.parent_path() / "troupe-sinks.so").c_str(), RTLD_NOW | RTLD_LOCAL);
  }();
  return loaded;
}

class missing_module final : public sink_writer {
public:
  sink_progress write(std::span<const sink_record>) override {
    return {0, error{fault::unsupported, "The module troupe-sinks.so cannot be loaded"}};
  }
  void stop() override {}
};

template <class Entry, class... Args>
std::unique_ptr<sink_writer> make(const char* name, const Args&... args) {
  auto* entry = module() ? reinterpret_cast<Entry*>(dlsym(module(), name)) : nullptr;
  if (!entry) return std::make_unique<missing_module>();
  return std::unique_ptr<sink_writer>{entry(args...)};
}

} // namespace

std::unique_ptr<sink_writer> make_webhook_sink(const config_map& config) {
  return make<decltype(troupe_make_webhook_sink)>("troupe_make_webhook_sink", config);
}

std::unique_ptr<sink_writer> make_nats_sink(const std::string& name, const config_map& config) {
  return make<decltype(troupe_make_nats_sink)>("troupe_make_nats_sink", name, config);
}

bool is_sink_url(const std::string& value, std::initializer_list<std::string_view> schemes, bool with_path) {
  auto* fits = module() ? reinterpret_cast<decltype(troupe_url_fits)*>(dlsym(module(), "troupe_url_fits")) : nullptr;
  return fits && fits(value, {schemes.begin(), schemes.size()}, with_path);
}

} // namespace troupe
