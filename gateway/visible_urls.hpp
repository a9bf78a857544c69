#pragma once

#include "messages/rights.hpp"

#include <string>
#include <string_view>
#include <vector>

namespace troupe {

/// URLs of things, without those that the caller may not see.
inline std::vector<std::string> visible_urls(const principal& who, std::vector<std::string> urls) {
  constexpr std::string_view mark = "?project=";
  if (who.level == trust::full) return urls;
  std::erase_if(urls, [&](const std::string& url) {
    if (auto thing = entity_of({}, url)) return !who.may("can_view", *thing);
    auto at = url.find(mark); // of what rights are given on as a whole only, like a snapshot
    return !who.may_see(at == url.npos ? std::string_view{"default"} : std::string_view{url}.substr(at + mark.size()));
  });
  return urls;
}

} // namespace troupe
