#include "backends/web/module/entry.hpp"

#include <cstdlib>
#include <curl/curl.h>
#include <memory>

namespace troupe {
namespace {

constexpr size_t answer_bytes_max = 1 << 20;
constexpr long connect_ms_max = 5'000, whole_ms_max = 10'000;

struct receiver {
  const cancel_token& stop;
  std::string body;
  bool too_large = false;
};

size_t on_bytes(char* bytes, size_t, size_t count, void* data) {
  auto& to = *static_cast<receiver*>(data);
  to.too_large = to.body.size() + count > answer_bytes_max;
  if (to.too_large) return 0;
  to.body.append(bytes, count);
  return count;
}

int on_progress(void* data, curl_off_t, curl_off_t, curl_off_t, curl_off_t) {
  return static_cast<receiver*>(data)->stop.cancelled() ? 1 : 0;
}

using handle = std::unique_ptr<CURL, decltype(&curl_easy_cleanup)>;
using header_list = std::unique_ptr<curl_slist, decltype(&curl_slist_free_all)>;

header_list headers_of(const web_call& call) {
  curl_slist* first = nullptr;
  for (auto& line : call.headers) first = curl_slist_append(first, line.c_str());
  return {first, curl_slist_free_all};
}

void set_authorities(CURL* to) { // libcurl itself does not look at these
  if (auto* file = std::getenv("SSL_CERT_FILE"); file && *file) curl_easy_setopt(to, CURLOPT_CAINFO, file);
  if (auto* folder = std::getenv("SSL_CERT_DIR"); folder && *folder) curl_easy_setopt(to, CURLOPT_CAPATH, folder);
}

void prepare(CURL* to, const web_call& call, curl_slist* headers, receiver& answer, char* problem) {
  curl_easy_setopt(to, CURLOPT_URL, call.url.c_str());
  curl_easy_setopt(to, CURLOPT_PROTOCOLS_STR, "https");
  curl_easy_setopt(to, CURLOPT_FOLLOWLOCATION, 0L); // keys and secrets go where the administrator said
  curl_easy_setopt(to, CURLOPT_PROXY, "");
  curl_easy_setopt(to, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(to, CURLOPT_CONNECTTIMEOUT_MS, connect_ms_max);
  curl_easy_setopt(to, CURLOPT_TIMEOUT_MS, whole_ms_max);
  curl_easy_setopt(to, CURLOPT_USERAGENT, "troupe/" TROUPE_VERSION);
  curl_easy_setopt(to, CURLOPT_ERRORBUFFER, problem);
  curl_easy_setopt(to, CURLOPT_HTTPHEADER, headers);
  curl_easy_setopt(to, CURLOPT_WRITEFUNCTION, on_bytes);
  curl_easy_setopt(to, CURLOPT_WRITEDATA, &answer);
  curl_easy_setopt(to, CURLOPT_NOPROGRESS, 0L);
  curl_easy_setopt(to, CURLOPT_XFERINFOFUNCTION, on_progress);
  curl_easy_setopt(to, CURLOPT_XFERINFODATA, &answer);
  if (call.method == "POST") {
    curl_easy_setopt(to, CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(call.body.size()));
    curl_easy_setopt(to, CURLOPT_POSTFIELDS, call.body.data());
  }
  if (!call.user.empty()) {
    curl_easy_setopt(to, CURLOPT_HTTPAUTH, CURLAUTH_BASIC);
    curl_easy_setopt(to, CURLOPT_USERNAME, call.user.c_str());
    curl_easy_setopt(to, CURLOPT_PASSWORD, call.password.c_str());
  }
  set_authorities(to);
}

outcome<web_answer> perform(const web_call& call, const cancel_token& stop) {
  static const CURLcode once = curl_global_init(CURL_GLOBAL_DEFAULT);
  handle curl{once == CURLE_OK ? curl_easy_init() : nullptr, curl_easy_cleanup};
  if (!curl) return fail(fault::backend_failed, "The HTTP client cannot be made");
  auto headers = headers_of(call);
  receiver answer{stop, {}};
  char problem[CURL_ERROR_SIZE] = {};
  prepare(curl.get(), call, headers.get(), answer, problem);
  auto code = curl_easy_perform(curl.get());
  if (stop.cancelled()) return fail(fault::cancelled, "The call was cancelled");
  if (answer.too_large) return fail(fault::too_large, call.url + " answered with more than a megabyte");
  if (code != CURLE_OK)
    return fail(code == CURLE_OPERATION_TIMEDOUT ? fault::timed_out : fault::backend_failed,
                "Cannot ask " + call.url + ": " + (problem[0] ? problem : curl_easy_strerror(code)));
  long status = 0;
  curl_easy_getinfo(curl.get(), CURLINFO_RESPONSE_CODE, &status);
  return web_answer{static_cast<int>(status), std::move(answer.body)};
}

} // namespace
} // namespace troupe

extern "C" void troupe_call_web(const troupe::web_call& call, const troupe::cancel_token& stop,
                                troupe::outcome<troupe::web_answer>& out) {
  out = troupe::perform(call, stop);
}
