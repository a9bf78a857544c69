#include "gateway/http_parser.hpp"

// GCC takes an empty boost::optional in Beast for read uninitialised when a sanitizer keeps it from inlining.
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif

#include <boost/asio/buffer.hpp>
#include <boost/beast/http/basic_parser.hpp>
#include <boost/beast/http/error.hpp>
#include <limits>

namespace troupe {
namespace http = boost::beast::http;
using beast_text = boost::beast::string_view;
using beast_error = boost::beast::error_code;

namespace {

std::string_view plain(beast_text text) { return {text.data(), text.size()}; }

} // namespace

struct http_parser::machine final : http::basic_parser<true> {
  machine(http_request& r, size_t max) : request{r}, header_bytes_max{max} {
    header_limit(static_cast<uint32_t>(max));
    body_limit(std::numeric_limits<uint64_t>::max()); // the connection's rule decides
  }

  http_request& request;
  size_t header_bytes_max;
  size_t header_bytes = 0;
  sink* body = nullptr;
  bool head_told = false;
  bool expects_continue = false;
  bool foreign_coding = false; // a transfer coding other than chunked
  int version = 11;
  int status = 0;
  const char* reason = "";

  step fail(int with, const char* why) {
    status = with;
    reason = why;
    return step::failed;
  }

  void on_request_impl(http::verb, beast_text method, beast_text target, int number, beast_error&) override {
    version = number;
    request.method = plain(method);
    for (auto& c : request.method) c = c >= 'a' && c <= 'z' ? static_cast<char>(c - 32) : c;
    request.target = plain(target);
    request.headers.reserve(8);
  }

  void on_field_impl(http::field field, beast_text name, beast_text value, beast_error&) override {
    if (head_told) return; // trailers say nothing we act upon
    auto text = plain(value);
    if (field == http::field::expect) expects_continue = same_text(text, "100-continue");
    if (field == http::field::transfer_encoding && !same_text(text, "chunked")) foreign_coding = true;
    request.headers.emplace_back(plain(name), text);
  }

  size_t on_body_impl(beast_text bytes, beast_error&) override {
    body->on_body(plain(bytes));
    return bytes.size();
  }

  size_t on_chunk_body_impl(uint64_t, beast_text bytes, beast_error&) override {
    body->on_body(plain(bytes));
    return bytes.size();
  }

  void on_response_impl(int, beast_text, int, beast_error&) override {}
  void on_header_impl(beast_error&) override {}
  void on_body_init_impl(const boost::optional<uint64_t>&, beast_error&) override {}
  void on_chunk_header_impl(uint64_t, beast_text, beast_error&) override {}
  void on_finish_impl(beast_error&) override {}

  step after_head() {
    head_told = true;
    if (foreign_coding) return fail(501, "Transfer codings other than chunked are not supported");
    if (!split_target(request)) return fail(400, "The request target is malformed");
    return is_done() ? step::complete : step::head;
  }

  step refuse(const beast_error& e) {
    if (e == http::error::header_limit) return fail(431, "The request's header is too large");
    if (e == http::error::bad_version) return fail(505, "Only HTTP/1.0 and HTTP/1.1 are supported");
    return fail(400, "The request is malformed");
  }

  progress feed(std::string_view bytes) {
    progress made;
    while (made.used < bytes.size()) {
      auto rest = bytes.substr(made.used);
      beast_error e;
      auto used = put({rest.data(), rest.size()}, e);
      made.used += used;
      bool done = is_header_done();
      if (!head_told) header_bytes += used;
      auto line = done ? header_bytes : header_bytes + (rest.size() - used);
      if (e && e != http::error::need_more) return {made.used, refuse(e)};
      if (!head_told && line > header_bytes_max) return {made.used, refuse(http::error::header_limit)};
      if (!head_told && done) return {made.used, after_head()};
      if (head_told && is_done()) return {made.used, step::complete};
      if (!e) continue;
      // Only a chunk's size line or the trailers can be incomplete here: they have no business being long.
      if (head_told && rest.size() - used > header_bytes_max) return {made.used, refuse(http::error::header_limit)};
      break;
    }
    return made;
  }
};

http_parser::http_parser(http_request& into, size_t header_bytes_max)
    : machine_{std::make_unique<machine>(into, header_bytes_max)} {}

http_parser::~http_parser() = default;

http_parser::progress http_parser::feed(std::string_view bytes, sink& body) {
  machine_->body = &body;
  return machine_->feed(bytes);
}

bool http_parser::head_done() const noexcept { return machine_->head_told; }
bool http_parser::keep_alive() const noexcept { return machine_->keep_alive(); }
bool http_parser::version_1_0() const noexcept { return machine_->version == 10; }
bool http_parser::expects_continue() const noexcept { return machine_->expects_continue; }
int http_parser::status() const noexcept { return machine_->status; }
const char* http_parser::reason() const noexcept { return machine_->reason; }

std::optional<uint64_t> http_parser::content_length() const noexcept {
  auto length = machine_->content_length();
  return length ? std::optional<uint64_t>{*length} : std::nullopt;
}

} // namespace troupe
