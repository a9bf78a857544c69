// troupe-pack: writes the archive of an image or of a backup, confined: what it reads was written by guests. Started by
// the daemon only (archives.cpp):
//   troupe-pack PARENT_PID BYTES_MAX COMPRESSION LEVEL PART...
// A part is file=NAME (a file of the daemon's), tree=PREFIX (a volume) or overlay=PREFIX (a volume over its image).
// Descriptors: 1 report, 2 errors of libraries, 3 the archive; from 4 on those of the parts, in order: the file, the
// directory, or two directories, the upper one first.
#include "backends/image/helper/confine.hpp"
#include "backends/image/helper/tree_reader.hpp"

#include <cerrno>
#include <charconv>
#include <clocale>
#include <deque>
#include <new>
#include <unistd.h>

namespace troupe::unpack {
namespace {

enum { archive_fd = 3, first_part = 4 };

struct part {
  std::string kind, name;
  unique_fd fd; // of a file; a tree's root, once we are confined
};

struct order {
  pid_t parent = 0;
  uint64_t bytes_max = 0;
  std::string compression, level;
  std::vector<part> parts;
  std::vector<visible_tree> trees; // of the parts that have one, in order
};

template <class Number>
bool parse(std::string_view text, Number& out) {
  auto [end, e] = std::from_chars(text.data(), text.data() + text.size(), out);
  return e == std::errc{} && end == text.data() + text.size();
}

outcome<order> parse_order(int count, char** words) {
  auto refused = [] { return fail(fault::invalid, "troupe-pack is started by the daemon only"); };
  order out;
  if (count < 6 || !parse(words[1], out.parent) || !parse(words[2], out.bytes_max)) return refused();
  out.compression = words[3];
  out.level = words[4];
  int next = first_part;
  for (int i = 5; i < count; ++i) {
    std::string_view word = words[i];
    auto equals = word.find('=');
    if (equals == word.npos) return refused();
    part each{std::string{word.substr(0, equals)}, std::string{word.substr(equals + 1)}, {}};
    if (each.kind == "file")
      each.fd.reset(next++);
    else if (each.kind == "tree")
      out.trees.push_back({unique_fd{next++}});
    else if (each.kind == "overlay")
      out.trees.push_back({unique_fd{next}, unique_fd{next + 1}}), next += 2;
    else
      return refused();
    out.parts.push_back(std::move(each));
  }
  return out;
}

outcome<void> pack_file(const part& from, tar_writer& to) {
  packed_entry entry{from.name};
  if (fstat(from.fd.get(), &entry.facts) != 0) return fail_errno(errno, "Cannot read " + from.name);
  entry.facts.st_mode = S_IFREG | 0644;
  entry.facts.st_uid = entry.facts.st_gid = 0;
  return to.add(entry, from.fd.get());
}

outcome<void> pack(order& what, report& told) {
  auto to = tar_writer::open(archive_fd, what.compression, what.level);
  if (!to) return tl::unexpected{to.error()};
  unpack_limits limits;
  limits.bytes_max = what.bytes_max;
  std::set<std::string> files;
  for (auto& each : what.parts) {
    if (each.kind == "file") {
      files.insert(each.name);
      if (auto ok = pack_file(each, *to); !ok) return ok;
    } else {
      tree_reader reader{std::move(each.fd), each.name, limits, files, *to, told};
      if (auto ok = reader.run(); !ok) return ok;
    }
  }
  return to->finish();
}

outcome<void> run(int count, char** words) {
  auto what = parse_order(count, words);
  if (!what) return tl::unexpected{what.error()};
  if (auto ok = die_with(what->parent); !ok) return ok;
  std::setlocale(LC_CTYPE, "C.UTF-8"); // names in archives
  auto roots = confine(std::move(what->trees), tree_access::read, what->bytes_max);
  if (!roots) return tl::unexpected{roots.error()};
  auto root = roots->begin();
  for (auto& each : what->parts)
    if (each.kind != "file") each.fd = std::move(*root++);
  report told{0};
  if (auto ok = pack(*what, told); !ok) return ok;
  told.done();
  return {};
}

} // namespace
} // namespace troupe::unpack

int main(int count, char** words) {
  using namespace troupe;
  int code = 0;
  try {
    if (auto ok = unpack::run(count, words); !ok) {
      unpack::report::failed(ok.error());
      code = 1;
    }
  } catch (const std::bad_alloc&) {
    unpack::report::failed({fault::too_large, "The archive needs more memory to pack than it may have"});
    code = 1;
  }
  _exit(code);
}
