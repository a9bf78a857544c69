#include "messages/error.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <iterator>

namespace troupe {
namespace {

struct row {
  fault code;
  std::string_view name;
  int http;
};

constexpr row rows[] = {
    {fault::invalid, "invalid", 400},
    {fault::not_found, "not_found", 404},
    {fault::already_exists, "already_exists", 409},
    {fault::wrong_state, "wrong_state", 400},
    {fault::busy, "busy", 409},
    {fault::in_use, "in_use", 400},
    {fault::forbidden, "forbidden", 403},
    {fault::unsupported, "unsupported", 400},
    {fault::precondition, "precondition", 412},
    {fault::too_large, "too_large", 413},
    {fault::cancelled, "cancelled", 400},
    {fault::timed_out, "timed_out", 500},
    {fault::backend_failed, "backend_failed", 500},
    {fault::corrupt, "corrupt", 500},
    {fault::newer_format, "newer_format", 500},
    {fault::internal, "internal", 500},
};

const row& find(fault code) noexcept {
  auto at = std::find_if(std::begin(rows), std::end(rows), [code](const row& r) { return r.code == code; });
  return at == std::end(rows) ? rows[std::size(rows) - 1] : *at;
}

} // namespace

tl::unexpected<error> fail_errno(int number, std::string what) {
  char text[128];
  what += ": ";
  what += strerror_r(number, text, sizeof text);
  return fail(number == ENOENT ? fault::not_found : fault::backend_failed, std::move(what));
}

int to_http(fault code) noexcept { return find(code).http; }

std::string_view to_string(fault code) noexcept { return find(code).name; }

} // namespace troupe
