// troupe-receive: makes a directory what a stream of `btrfs send` says, confined. The stream is read by us rather than
// by `btrfs receive`, which needs CAP_SYS_ADMIN and looks for what a stream builds on in the whole file system.
// Started by the daemon only (stream/receive_stream.cpp):
//   troupe-receive PARENT_PID BYTES_MAX BASE_ID|-
// Descriptors: 1 report, 2 errors, 3 the stream, 5 the directory, 6 what the stream builds on (with a BASE_ID). The
// report's text is the id of the subvolume that the stream is of.
#include "backends/image/helper/confine.hpp"
#include "backends/image/helper/report.hpp"
#include "backends/transfer/stream/helper/stream_tree.hpp"

#include <algorithm>
#include <charconv>
#include <new>
#include <unistd.h>

namespace troupe::transfer {
namespace {

enum { stream_at = 3, tree_at = 5, base_at = 6 };

template <class Number>
bool parse(std::string_view text, Number& out) {
  auto [end, e] = std::from_chars(text.data(), text.data() + text.size(), out);
  return e == std::errc{} && end == text.data() + text.size();
}

outcome<void> receive(stream_tree& tree) {
  send_stream stream{stream_at};
  unpack::report to{0};
  for (uint64_t told = 0;;) {
    auto command = stream.next();
    if (!command) return tl::unexpected{command.error()};
    to.read_more(stream.bytes() - std::exchange(told, stream.bytes()));
    if (command->verb == send_verb::end) break;
    if (auto ok = tree.apply(*command); !ok) return ok;
  }
  if (char more; ::read(stream_at, &more, 1) != 0) return fail(fault::invalid, "Something follows behind the stream");
  if (auto ok = tree.finish(); !ok) return ok;
  to.text(text_of(tree.id()));
  to.done();
  return {};
}

outcome<void> run(int count, char** words) {
  pid_t parent = 0;
  unpack_limits limits;
  if (count != 4 || !parse(words[1], parent) || !parse(words[2], limits.bytes_max))
    return fail(fault::invalid, "troupe-receive is started by the daemon only");
  limits.entries_max = std::max(limits.entries_max, limits.bytes_max >> 15);
  auto base = parse_subvolume_id(words[3]);
  if (auto ok = unpack::die_with(parent); !ok) return ok;
  std::vector<unpack::visible_tree> trees;
  trees.push_back({unique_fd{tree_at}});
  if (base) trees.push_back({unique_fd{base_at}, {}, true});
  auto roots = unpack::confine(std::move(trees), unpack::tree_access::receive, limits.bytes_max);
  if (!roots) return tl::unexpected{roots.error()};
  std::optional<stream_tree::base> on;
  if (base) on = stream_tree::base{std::move(roots->at(1)), *base};
  stream_tree tree{std::move(roots->at(0)), std::move(on), limits};
  return receive(tree);
}

} // namespace
} // namespace troupe::transfer

int main(int count, char** words) {
  using namespace troupe;
  int code = 0;
  try {
    if (auto ok = transfer::run(count, words); !ok) {
      unpack::report::failed(ok.error());
      code = 1;
    }
  } catch (const std::bad_alloc&) {
    unpack::report::failed({fault::too_large, "The stream needs more memory than it may have"});
    code = 1;
  }
  _exit(code); // nothing to tidy, and a sanitizer's leak check could not run in here
}
