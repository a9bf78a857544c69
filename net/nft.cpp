#include "net/nft.hpp"

#include <algorithm>
#include <dlfcn.h>
#include <memory>
#include <nftables/libnftables.h>

namespace troupe {
namespace {

/// libnftables costs 2.5 MB of memory when linked. It is needed for milliseconds when a network changes, so it is
/// loaded for one transaction and unloaded again.
class nft_library {
public:
  nft_library() : handle_{dlopen("libnftables.so.1", RTLD_NOW | RTLD_LOCAL)} {}
  ~nft_library() {
    if (handle_ != nullptr) dlclose(handle_);
  }
  nft_library(const nft_library&) = delete;
  nft_library& operator=(const nft_library&) = delete;

  explicit operator bool() const noexcept { return handle_ != nullptr; }
  template <class Function>
  Function* find(const char* name) const {
    return reinterpret_cast<Function*>(dlsym(handle_, name));
  }

private:
  void* handle_;
};

/// The first line of what nft complains about, "Error: Could not process rule: ...", without its place in the text.
std::string first_line(const char* text) {
  std::string line{text == nullptr ? "" : text};
  line.resize(std::min(line.find('\n'), line.size()));
  auto error = line.find("Error: ");
  return error == line.npos ? line : line.substr(error + 7);
}

} // namespace

outcome<void> run_nft(const std::string& text) {
  nft_library library;
  if (!library) return fail(fault::unsupported, "Cannot load libnftables");
  auto* make = library.find<decltype(nft_ctx_new)>("nft_ctx_new");
  auto* run = library.find<decltype(nft_run_cmd_from_buffer)>("nft_run_cmd_from_buffer");
  auto* release = library.find<decltype(nft_ctx_free)>("nft_ctx_free");
  auto* buffer = library.find<decltype(nft_ctx_buffer_error)>("nft_ctx_buffer_error");
  auto* complaint = library.find<decltype(nft_ctx_get_error_buffer)>("nft_ctx_get_error_buffer");
  if (!make || !run || !release || !buffer || !complaint) return fail(fault::unsupported, "libnftables is too old");

  std::unique_ptr<nft_ctx, decltype(release)> context{make(NFT_CTX_DEFAULT), release};
  if (!context || buffer(context.get()) != 0) return fail(fault::backend_failed, "Cannot start libnftables");
  if (run(context.get(), text.c_str()) == 0) return {};
  return fail(fault::backend_failed, "Cannot apply the firewall: " + first_line(complaint(context.get())));
}

} // namespace troupe
