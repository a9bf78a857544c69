#include "backends/sink/module/entry.hpp"

#include <algorithm>
#include <curl/curl.h>

namespace troupe {
namespace {

struct url_handle {
  CURLU* handle = curl_url();
  url_handle() = default;
  url_handle(const url_handle&) = delete;
  ~url_handle() { curl_url_cleanup(handle); }

  std::string part(CURLUPart which) const {
    char* found = nullptr;
    std::string out;
    if (curl_url_get(handle, which, &found, 0) == CURLUE_OK) out = found;
    curl_free(found);
    return out;
  }
};

// Credentials have keys of their own, which are not shown.
bool fits(const std::string& value, std::span<const std::string_view> schemes, bool with_path) {
  url_handle url;
  if (curl_url_set(url.handle, CURLUPART_URL, value.c_str(), CURLU_NON_SUPPORT_SCHEME)) return false;
  auto scheme = url.part(CURLUPART_SCHEME), path = url.part(CURLUPART_PATH);
  return std::find(schemes.begin(), schemes.end(), scheme) != schemes.end() && !url.part(CURLUPART_HOST).empty() &&
         url.part(CURLUPART_USER).empty() && url.part(CURLUPART_PASSWORD).empty() &&
         url.part(CURLUPART_FRAGMENT).empty() &&
         (with_path || ((path.empty() || path == "/") && url.part(CURLUPART_QUERY).empty()));
}

} // namespace
} // namespace troupe

extern "C" bool troupe_url_fits(const std::string& value, std::span<const std::string_view> schemes, bool with_path) {
  return troupe::fits(value, schemes, with_path);
}
