#include "backends/instance/agent/guest_text.hpp"

#include <algorithm>
#include <kj/encoding.h>

namespace troupe::guest {
namespace {

constexpr size_t word_bytes_max = 200, items_max = 100;

std::string shown(capnp::Text::Reader from) { return tame(text(from), word_bytes_max); }

/// No more of a list than anybody wants to see.
template <class List>
auto first(List from) {
  std::vector<decltype(from[0])> out;
  for (unsigned i = 0; i < from.size() && i < items_max; ++i) out.push_back(from[i]);
  return out;
}

guest_report::address address_of(Report::Address::Reader from) {
  return {shown(from.getFamily()), shown(from.getAddress()), shown(from.getScope()), from.getPrefix()};
}

guest_report::card card_of(Report::Card::Reader from) {
  guest_report::card out;
  out.name = shown(from.getName());
  out.hwaddr = shown(from.getHwaddr());
  out.state = shown(from.getState());
  out.type = shown(from.getType());
  out.mtu = from.getMtu();
  out.received = from.getReceived();
  out.sent = from.getSent();
  out.packets_received = from.getPacketsReceived();
  out.packets_sent = from.getPacketsSent();
  out.errors_received = from.getErrorsReceived();
  out.errors_sent = from.getErrorsSent();
  out.drops_received = from.getDropsReceived();
  out.drops_sent = from.getDropsSent();
  for (auto each : first(from.getAddresses())) out.addresses.push_back(address_of(each));
  return out;
}

} // namespace

std::string tame(std::string text, size_t most) {
  if (text.size() > most) text.resize(most);
  bool foreign = kj::encodeUtf32(kj::StringPtr{text.c_str(), text.size()}).hadErrors;
  for (auto& c : text) {
    auto byte = static_cast<unsigned char>(c);
    if (byte < 0x20 || byte == 0x7f || (foreign && byte > 0x7f)) c = '?';
  }
  return text;
}

error tame(error why) {
  if (why.code < fault::invalid || why.code > fault::internal) why.code = fault::backend_failed;
  return {why.code, tame(std::move(why.message), sentence_bytes_max)};
}

outcome<void> outcome_of(schema::Error::Reader from) {
  if (from.getCode() == 0) return {};
  return tl::unexpected{tame(error{static_cast<fault>(from.getCode()), text(from.getMessage())})};
}

guest_report report_of(Report::Reader from) {
  guest_report out;
  out.processes = from.getProcesses();
  out.memory_total = from.getMemoryTotal();
  out.memory_used = from.getMemoryUsed();
  out.memory_peak = from.getMemoryPeak();
  out.swap_used = from.getSwapUsed();
  out.root_used = from.getRootUsed();
  out.root_total = from.getRootTotal();
  out.os = shown(from.getOs());
  out.os_version = shown(from.getOsVersion());
  out.kernel = shown(from.getKernel());
  out.hostname = shown(from.getHostname());
  for (auto each : first(from.getCards())) out.cards.push_back(card_of(each));
  return out;
}

outcome<file_info> tame(file_info info) {
  bool whole = info.type == 'f' ? info.streamed : info.type == 'd' || info.type == 'l';
  if (!whole) return fail(fault::backend_failed, "The agent in the instance tells of no kind of file");
  return info;
}

} // namespace troupe::guest
