#include "gateway/http_reply.hpp"

#include "gateway/http_parser.hpp"

#include <algorithm>
#include <iterator>
#include <optional>

namespace troupe {
namespace {

struct reason_row {
  int status;
  std::string_view text;
};

constexpr reason_row reasons[] = {
    {200, "OK"},
    {201, "Created"},
    {202, "Accepted"},
    {204, "No Content"},
    {206, "Partial Content"},
    {301, "Moved Permanently"},
    {302, "Found"},
    {303, "See Other"},
    {304, "Not Modified"},
    {307, "Temporary Redirect"},
    {308, "Permanent Redirect"},
    {400, "Bad Request"},
    {401, "Unauthorized"},
    {403, "Forbidden"},
    {404, "Not Found"},
    {405, "Method Not Allowed"},
    {408, "Request Timeout"},
    {409, "Conflict"},
    {412, "Precondition Failed"},
    {413, "Payload Too Large"},
    {416, "Range Not Satisfiable"},
    {423, "Locked"},
    {426, "Upgrade Required"},
    {429, "Too Many Requests"},
    {431, "Request Header Fields Too Large"},
    {500, "Internal Server Error"},
    {501, "Not Implemented"},
    {502, "Bad Gateway"},
    {503, "Service Unavailable"},
    {505, "HTTP Version Not Supported"},
    {507, "Insufficient Storage"},
};

std::string_view reason_of(int status) {
  auto at = std::lower_bound(std::begin(reasons), std::end(reasons), status,
                             [](const reason_row& row, int wanted) { return row.status < wanted; });
  return at != std::end(reasons) && at->status == status ? at->text : std::string_view{"Status"};
}

/// Nothing when the length is unknown.
std::optional<uint64_t> length_of(const http_response& response) {
  uint64_t total = 0;
  for (auto& part : response.body) {
    if (auto* text = std::get_if<std::string>(&part))
      total += text->size();
    else if (auto* shared = std::get_if<std::shared_ptr<const std::string>>(&part))
      total += *shared ? (*shared)->size() : 0;
    else if (auto* range = std::get_if<file_range>(&part))
      total += range->size;
    else
      return std::nullopt;
  }
  return total;
}

void append_header(std::string& to, std::string_view name, std::string_view value) {
  auto clean = [](char c) { return static_cast<unsigned char>(c) < 32 || c == 127 ? ' ' : c; };
  std::transform(name.begin(), name.end(), std::back_inserter(to), clean);
  to += ": ";
  std::transform(value.begin(), value.end(), std::back_inserter(to), clean);
  to += "\r\n";
}

void append_framing(std::string& to, const http_response& response, reply_frame& frame) {
  auto length = length_of(response);
  bool bodiless = response.status < 200 || response.status == 204 || response.status == 304;
  auto stated = std::find_if(response.headers.begin(), response.headers.end(),
                             [](auto& header) { return same_text(header.first, "content-length"); });
  if (bodiless) {
    frame.head_only = true;
  } else if (frame.head_only && response.body.empty() && stated != response.headers.end()) {
    append_header(to, "Content-Length", stated->second); // a handler that knows the size of what it did not open
  } else if (length) {
    to += "Content-Length: ";
    to += std::to_string(*length);
    to += "\r\n";
  } else if (frame.version_1_0) {
    frame.keep_alive = false; // the end of the connection is the end of the body
  } else {
    frame.chunked = true;
    to += "Transfer-Encoding: chunked\r\n";
  }
  if (!frame.keep_alive)
    to += "Connection: close\r\n";
  else if (frame.version_1_0)
    to += "Connection: keep-alive\r\n";
}

bool is_framing(std::string_view name) {
  return same_text(name, "content-length") || same_text(name, "transfer-encoding") || same_text(name, "connection");
}

} // namespace

std::string reply_head(const http_response& response, reply_frame& frame) {
  std::string head;
  head.reserve(240);
  head += "HTTP/1.1 ";
  head += std::to_string(response.status);
  head += ' ';
  head += reason_of(response.status);
  head += "\r\n";
  append_framing(head, response, frame);
  for (auto& [name, value] : response.headers)
    if (!is_framing(name)) append_header(head, name, value);
  head += "\r\n";
  return head;
}

http_response error_reply(int status, std::string_view sentence) {
  std::string body = R"({"type":"error","status":"","status_code":0,"operation":"","error_code":)";
  body += std::to_string(status);
  body += R"(,"error":")";
  body += sentence;
  body += "\",\"metadata\":null}\n";
  http_response made{status, {{"Content-Type", "application/json"}, {"X-Content-Type-Options", "nosniff"}}, {}};
  made.body.emplace_back(std::move(body));
  return made;
}

} // namespace troupe
