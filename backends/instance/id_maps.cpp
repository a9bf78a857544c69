#include "backends/instance/id_maps.hpp"

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <sstream>
#include <vector>

namespace troupe {
namespace {

constexpr size_t extents_max = 340; // of the kernel

struct extent {
  uint64_t inside = 0, host = 0, count = 0;
};
struct exception_row {
  bool users = false, groups = false;
  extent ids;
};

// "1000" or "500-510"; false: neither.
bool parse_range(const std::string& text, uint64_t& first, uint64_t& count) {
  auto dash = text.find('-');
  auto number = [](std::string_view part, uint64_t& to) {
    auto [end, bad] = std::from_chars(part.data(), part.data() + part.size(), to);
    return bad == std::errc{} && end == part.data() + part.size() && to < UINT32_MAX;
  };
  uint64_t last = 0;
  std::string_view all{text};
  if (dash == text.npos) {
    count = 1;
    return number(all, first);
  }
  if (!number(all.substr(0, dash), first) || !number(all.substr(dash + 1), last) || last < first) return false;
  count = last - first + 1;
  return true;
}

outcome<exception_row> parse_row(const std::string& line) {
  std::istringstream words{line};
  std::string who, host, inside, more;
  words >> who >> host >> inside;
  exception_row row;
  row.users = who == "both" || who == "uid";
  row.groups = who == "both" || who == "gid";
  uint64_t count = 0;
  bool good = (row.users || row.groups) && !(words >> more) && parse_range(host, row.ids.host, row.ids.count) &&
              parse_range(inside, row.ids.inside, count) && count == row.ids.count;
  if (!good)
    return fail(fault::invalid,
                "\"" + line + "\" in raw.idmap is not like \"both 1000 1000\" or \"uid 50-60 500-510\"");
  if (row.ids.inside == 0)
    return fail(fault::invalid, "raw.idmap cannot map the root inside: the instance begins with it");
  return row;
}

outcome<std::vector<exception_row>> parse(std::string_view exceptions) {
  std::vector<exception_row> out;
  std::istringstream lines{std::string{exceptions}};
  for (std::string line; std::getline(lines, line);) {
    if (line.find_first_not_of(" \t") == line.npos) continue;
    auto row = parse_row(line);
    if (!row) return tl::unexpected{row.error()};
    out.push_back(*row);
  }
  return out;
}

bool meet(uint64_t a, uint64_t a_count, uint64_t b, uint64_t b_count) { return a < b + b_count && b < a + a_count; }

outcome<std::vector<extent>> cut(std::vector<extent> map, const std::vector<extent>& exceptions) {
  for (auto& hole : exceptions) {
    std::vector<extent> rest;
    for (auto& one : map) {
      if (!meet(one.inside, one.count, hole.inside, hole.count)) {
        rest.push_back(one);
        continue;
      }
      auto end = one.inside + one.count, hole_end = hole.inside + hole.count;
      if (one.inside < hole.inside) rest.push_back({one.inside, one.host, hole.inside - one.inside});
      if (hole_end < end) rest.push_back({hole_end, one.host + (hole_end - one.inside), end - hole_end});
    }
    map = std::move(rest);
  }
  map.insert(map.end(), exceptions.begin(), exceptions.end());
  std::sort(map.begin(), map.end(), [](auto& a, auto& b) { return a.inside < b.inside; });
  for (size_t i = 0; i < map.size(); ++i)
    for (size_t j = i + 1; j < map.size(); ++j)
      if (meet(map[i].inside, map[i].count, map[j].inside, map[j].count) ||
          meet(map[i].host, map[i].count, map[j].host, map[j].count))
        return fail(fault::invalid, "raw.idmap maps an id twice");
  if (map.size() > extents_max) return fail(fault::invalid, "raw.idmap is too long");
  return map;
}

std::string text_of(const std::vector<extent>& map) {
  std::string out;
  for (auto& one : map)
    out += std::to_string(one.inside) + " " + std::to_string(one.host) + " " + std::to_string(one.count) + "\n";
  return out;
}

} // namespace

outcome<id_maps> maps_of(const id_range& ids, std::string_view exceptions) {
  if (ids.size == 0) return id_maps{};
  auto rows = parse(exceptions);
  if (!rows) return tl::unexpected{rows.error()};
  std::vector<extent> users, groups;
  for (auto& row : *rows) {
    if (row.users) users.push_back(row.ids);
    if (row.groups) groups.push_back(row.ids);
  }
  auto uids = cut({{0, ids.host, ids.size}}, users), gids = cut({{0, ids.host, ids.size}}, groups);
  if (!uids) return tl::unexpected{uids.error()};
  if (!gids) return tl::unexpected{gids.error()};
  return id_maps{text_of(*uids), text_of(*gids)};
}

std::optional<std::vector<std::pair<uint64_t, uint64_t>>> parse_id_ranges(std::string_view list) {
  std::vector<std::pair<uint64_t, uint64_t>> out;
  std::istringstream words{std::string{list}};
  for (std::string word; std::getline(words, word, ',');) {
    uint64_t first = 0, count = 0;
    if (!parse_range(word, first, count)) return std::nullopt;
    out.emplace_back(first, count);
  }
  return out;
}

bool leaves_ranges(std::string_view exceptions, std::string_view users, std::string_view groups) {
  auto rows = parse(exceptions);
  auto may_users = parse_id_ranges(users), may_groups = parse_id_ranges(groups);
  if (!rows || !may_users || !may_groups) return true;
  auto within = [](const extent& ids, const auto& ranges) {
    return std::any_of(ranges.begin(), ranges.end(), [&](auto& range) {
      return ids.host >= range.first && ids.host + ids.count <= range.first + range.second;
    });
  };
  return !std::all_of(rows->begin(), rows->end(), [&](auto& row) {
    return (!row.users || within(row.ids, *may_users)) && (!row.groups || within(row.ids, *may_groups));
  });
}

outcome<void> check_id_exceptions(std::string_view exceptions) {
  auto good = maps_of({1'000'000'000, 65536}, exceptions);
  return good ? outcome<void>{} : tl::unexpected{good.error()};
}

uint32_t host_id(const std::string& map, uint32_t inside) {
  std::istringstream lines{map};
  for (extent one; lines >> one.inside >> one.host >> one.count;)
    if (inside >= one.inside && inside - one.inside < one.count)
      return static_cast<uint32_t>(one.host + (inside - one.inside));
  return inside;
}

} // namespace troupe
