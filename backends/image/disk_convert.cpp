#include "backends/image/disk_convert.hpp"

#include "backends/image/disk_formats.hpp"
#include "backends/image/helper_call.hpp"
#include "backends/image/image_files.hpp"

#include <cerrno>
#include <charconv>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

namespace troupe {
namespace {

constexpr size_t pending_max = 4096;

/// The part of its identity that the helper shares with us is the group.
outcome<void> open_to_group(const unique_fd& file, mode_t bits) {
  struct stat facts {};
  if (fstat(file.get(), &facts) != 0) return fail_errno(errno, "Cannot look at a disk");
  if (!S_ISREG(facts.st_mode)) return fail(fault::invalid, "The disk is no regular file");
  if (facts.st_gid != 0 && fchown(file.get(), static_cast<uid_t>(-1), 0) != 0)
    return fail_errno(errno, "Cannot give a disk to be converted");
  if ((facts.st_mode & bits) != bits && fchmod(file.get(), (facts.st_mode & 07777) | bits) != 0)
    return fail_errno(errno, "Cannot give a disk to be converted");
  return {};
}

/// What "qemu-img convert -p" prints: "    (12.34/100%)\r", over and over.
class percent_reader {
public:
  percent_reader(uint64_t total, const progress_sink& progress) : total_{total}, progress_{progress} {}
  outcome<void> take(std::string_view bytes) {
    pending_ += bytes;
    auto end = pending_.rfind("/100%)");
    auto begin = end == pending_.npos ? end : pending_.rfind('(', end);
    double percent = 0;
    if (begin != pending_.npos) {
      std::from_chars(pending_.data() + begin + 1, pending_.data() + end, percent);
      pending_.erase(0, end + 1);
    }
    if (pending_.size() > pending_max) pending_.clear();
    auto done = static_cast<uint64_t>(static_cast<double>(total_) * std::min(percent, 100.0) / 100);
    if (progress_ && done > told_) progress_(told_ = done, total_);
    return {};
  }

private:
  uint64_t total_, told_ = 0;
  const progress_sink& progress_;
  std::string pending_;
};

outcome<helper_call::order> order_for(const unique_fd& source, const unique_fd& target, const disk_conversion& how) {
  auto from = read_only_as(source.get(), 3);
  auto to = same_as(target.get(), 4);
  if (!from) return tl::unexpected{from.error()};
  if (!to) return tl::unexpected{to.error()};
  helper_call::order out;
  out.noun = "disk converter";
  out.words = {how.program, std::to_string(getpid()), std::to_string(how.bytes_max), how.from, how.to};
  out.descriptors.push_back(std::move(*from));
  out.descriptors.push_back(std::move(*to));
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return fail_errno(errno, "Cannot start the disk converter");
  out.output.reset(ends[0]);
  out.descriptors.push_back({unique_fd{ends[1]}, 5});
  out.status_tells = true;
  return out;
}

/// What qemu-img cannot read is the disk's fault; what it cannot write is ours.
error judged(error why) {
  if (why.code != fault::backend_failed) return why;
  auto says = [&](std::string_view words) { return why.message.find(words) != std::string::npos; };
  if (says("File too large") || says("Could not resize"))
    return {fault::too_large, "The disk is too large: " + why.message};
  if (says("Could not open '") || says("error while reading"))
    return {fault::invalid, "The disk cannot be read: " + why.message};
  return why;
}

} // namespace

outcome<void> convert_disk(const unique_fd& source, const unique_fd& target, const disk_conversion& how,
                           const progress_sink& progress, const cancel_token* stop) {
  if (!can_convert_from(how.from) || !can_convert_to(how.to))
    return fail(fault::unsupported, "A disk cannot be converted from \"" + how.from + "\" to \"" + how.to + "\"");
  auto total = size_of(source);
  if (!total) return tl::unexpected{total.error()};
  if (auto ok = open_to_group(source, S_IRGRP); !ok) return ok;
  if (auto ok = open_to_group(target, S_IRGRP | S_IWGRP); !ok) return ok;
  auto order = order_for(source, target, how);
  if (!order) return tl::unexpected{order.error()};
  percent_reader percent{*total, progress};
  order->take = [&](std::string_view bytes) { return percent.take(bytes); };
  auto call = helper_call::start(std::move(*order));
  if (!call) return tl::unexpected{call.error()};
  if (auto done = call->wait(progress, stop); !done) return tl::unexpected{judged(done.error())};
  if (fchmod(target.get(), 0600) != 0 || fsync(target.get()) != 0) return fail_errno(errno, "Cannot write the disk");
  if (progress) progress(*total, *total);
  return {};
}

} // namespace troupe
