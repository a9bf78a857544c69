#include "backends/sink/module/entry.hpp"
#include "backends/sink/sink_config.hpp"
#include "messages/json.hpp"

#include <algorithm>
#include <atomic>
#include <curl/curl.h>

namespace troupe {
namespace {

constexpr size_t answer_bytes_shown = 200;
constexpr size_t answer_bytes_max = 1 << 20; // who sends more is cut off

// Answers about the way to the receiver, or about now: the event itself is not to blame, and it is sent again until it
// is taken. All other 4xx refuse the event.
constexpr long passing[] = {401, 403, 404, 405, 407, 408, 410, 421, 425, 426, 429, 451};

bool refuses_event(long status) {
  return status >= 400 && status < 500 &&
         std::find(std::begin(passing), std::end(passing), status) == std::end(passing);
}

void write_member(std::string& out, std::string_view name, std::string_view value) {
  write_json_name(out, name);
  write_json_string(out, value);
}

void write_cloud_event(std::string& out, const sink_record& record) {
  out += '{';
  write_member(out, "specversion", "1.0");
  write_member(out, "id", record.id);
  write_member(out, "source", "troupe://" + record.source);
  write_member(out, "type", "troupe." + record.type);
  write_member(out, "subject", record.subject);
  write_member(out, "time", record.time);
  write_member(out, "datacontenttype", "application/json");
  write_json_name(out, "data");
  (out += record.data) += '}';
}

struct header_list {
  curl_slist* first = nullptr;
  header_list() = default;
  header_list(const header_list&) = delete;
  ~header_list() { curl_slist_free_all(first); }
  void add(const std::string& line) { first = curl_slist_append(first, line.c_str()); }
};

struct answer {
  std::optional<error> failure;
  bool refused = false;
};

class webhook_sink : public sink_writer {
public:
  explicit webhook_sink(const config_map& config)
      : url_{sink_setting("webhook", config, "url")}, ca_{sink_setting("webhook", config, "ca")},
        timeout_{sink_timeout("webhook", config)}, batch_{sink_setting("webhook", config, "batch") == "true"} {
    static const CURLcode once = curl_global_init(CURL_GLOBAL_DEFAULT);
    static_cast<void>(once);
    for (auto& [key, value] : config)
      if (key.starts_with("header.")) {
        auto line = key.substr(7) + (value.empty() ? ";" : ": " + value);
        single_.add(line);
        many_.add(line);
      }
    single_.add("Content-Type: application/cloudevents+json; charset=utf-8");
    many_.add("Content-Type: application/cloudevents-batch+json; charset=utf-8");
    for (auto* list : {&single_, &many_}) list->add("Expect:"); // no second of waiting for a "100 Continue"
  }
  ~webhook_sink() override { curl_easy_cleanup(curl_); }

  sink_progress write(std::span<const sink_record> records) override {
    if (batch_ && records.size() > 1) {
      std::string body = "[";
      for (auto& record : records) {
        if (body.size() > 1) body += ',';
        write_cloud_event(body, record);
      }
      auto sent = post(body + "]", many_);
      if (!sent.failure) return {records.size()};
      if (!sent.refused) return {0, sent.failure};
    } // refused as a whole: one by one, to find the one it is about
    for (size_t i = 0; i < records.size(); ++i) {
      std::string body;
      write_cloud_event(body, records[i]);
      auto sent = post(body, single_);
      if (sent.failure) return {i, sent.failure, sent.refused};
    }
    return {records.size()};
  }

  void stop() override { stopped_ = true; }

private:
  answer post(const std::string& body, const header_list& headers) {
    if (!curl_ && !(curl_ = prepared())) return {error{fault::backend_failed, "The HTTP client cannot be made"}};
    received_.clear();
    problem_[0] = 0;
    curl_easy_setopt(curl_, CURLOPT_HTTPHEADER, headers.first);
    curl_easy_setopt(curl_, CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(body.size()));
    curl_easy_setopt(curl_, CURLOPT_POSTFIELDS, body.data());
    auto code = stopped_ ? CURLE_ABORTED_BY_CALLBACK : curl_easy_perform(curl_);
    if (stopped_) return {error{fault::cancelled, "The sink was stopped"}};
    if (code != CURLE_OK)
      return {error{code == CURLE_OPERATION_TIMEDOUT ? fault::timed_out : fault::backend_failed,
                    "Cannot post to the webhook: " + std::string{problem_[0] ? problem_ : curl_easy_strerror(code)}}};
    long status = 0;
    curl_easy_getinfo(curl_, CURLINFO_RESPONSE_CODE, &status);
    if (status >= 200 && status < 300) return {};
    auto why = "The webhook answered with status " + std::to_string(status);
    if (!received_.empty()) why += ": " + received_;
    return {error{fault::backend_failed, why}, refuses_event(status)};
  }

  CURL* prepared() {
    CURL* made = curl_easy_init();
    if (!made) return nullptr;
    curl_easy_setopt(made, CURLOPT_URL, url_.c_str());
    curl_easy_setopt(made, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(made, CURLOPT_FOLLOWLOCATION, 0L); // where events go is what the user said, not what a server says
    curl_easy_setopt(made, CURLOPT_PROXY, "");
    curl_easy_setopt(made, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(made, CURLOPT_TIMEOUT_MS, static_cast<long>(timeout_.count()));
    curl_easy_setopt(made, CURLOPT_USERAGENT, "troupe/" TROUPE_VERSION);
    curl_easy_setopt(made, CURLOPT_ERRORBUFFER, problem_);
    curl_easy_setopt(made, CURLOPT_WRITEFUNCTION, &webhook_sink::on_bytes);
    curl_easy_setopt(made, CURLOPT_WRITEDATA, this);
    curl_easy_setopt(made, CURLOPT_NOPROGRESS, 0L);
    curl_easy_setopt(made, CURLOPT_XFERINFOFUNCTION, &webhook_sink::on_progress);
    curl_easy_setopt(made, CURLOPT_XFERINFODATA, this);
    if (!ca_.empty()) {
      curl_blob blob{const_cast<char*>(ca_.data()), ca_.size(), CURL_BLOB_NOCOPY};
      curl_easy_setopt(made, CURLOPT_CAINFO_BLOB, &blob);
    }
    return made;
  }

  static size_t on_bytes(char* bytes, size_t, size_t count, void* data) {
    auto* me = static_cast<webhook_sink*>(data);
    me->answer_bytes_ = me->received_.empty() ? count : me->answer_bytes_ + count;
    for (size_t i = 0; i < count && me->received_.size() < answer_bytes_shown; ++i)
      me->received_ += bytes[i] >= ' ' && bytes[i] < 0x7f ? bytes[i] : ' ';
    return me->answer_bytes_ > answer_bytes_max ? 0 : count;
  }

  static int on_progress(void* data, curl_off_t, curl_off_t, curl_off_t, curl_off_t) {
    return static_cast<webhook_sink*>(data)->stopped_ ? 1 : 0;
  }

  const std::string url_, ca_;
  const std::chrono::milliseconds timeout_;
  const bool batch_;
  header_list single_, many_;
  CURL* curl_ = nullptr; // keeps the connection between requests
  std::string received_; // the beginning of the answer, printable
  size_t answer_bytes_ = 0;
  char problem_[CURL_ERROR_SIZE] = {};
  std::atomic<bool> stopped_ = false;
};

} // namespace

} // namespace troupe

extern "C" troupe::sink_writer* troupe_make_webhook_sink(const troupe::config_map& config) {
  return new troupe::webhook_sink{config};
}
