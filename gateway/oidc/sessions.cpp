#include "gateway/oidc/sessions.hpp"

#include "runtime/sha256.hpp"
#include "runtime/uuid.hpp"

#include <algorithm>

namespace troupe {
namespace {

constexpr size_t sessions_max = 10'000, of_one_person_max = 64, secret_bytes = 32;

} // namespace

std::string oidc_sessions::begin(session one) {
  auto make_room = [this](size_t most, auto counts) {
    auto number = static_cast<size_t>(std::count_if(open_.begin(), open_.end(), counts));
    if (number < most) return;
    auto first = open_.end();
    for (auto at = open_.begin(); at != open_.end(); ++at)
      if (counts(*at) && (first == open_.end() || at->second.ends < first->second.ends)) first = at;
    open_.erase(first);
  };
  make_room(of_one_person_max, [&](auto& each) { return each.second.email == one.email; });
  make_room(sessions_max, [](auto&) { return true; });
  auto secret = random_hex(secret_bytes);
  open_.emplace(sha256_hex(secret), std::move(one));
  return secret;
}

const oidc_sessions::session* oidc_sessions::find(std::string_view secret, int64_t now) const {
  auto at = open_.find(sha256_hex(secret));
  return at != open_.end() && now < at->second.ends ? &at->second : nullptr;
}

void oidc_sessions::end(std::string_view secret) { open_.erase(sha256_hex(secret)); }

void oidc_sessions::end_all_of(const std::string& email) {
  std::erase_if(open_, [&](auto& each) { return each.second.email == email; });
}

} // namespace troupe
