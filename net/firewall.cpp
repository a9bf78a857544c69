#include "net/bridge.hpp"
#include "net/cidr.hpp"
#include "net/names.hpp"

#include <algorithm>
#include <dlfcn.h>
#include <map>
#include <memory>
#include <mutex>
#include <nftables/libnftables.h>

namespace troupe {
namespace {

/// libnftables costs 2.5 MB of memory when linked. It is needed for milliseconds when a network changes, so it is
/// loaded for one transaction and unloaded again.
class nft_library {
public:
  nft_library() : handle_{dlopen("libnftables.so.1", RTLD_NOW | RTLD_LOCAL)} {}
  ~nft_library() {
    if (handle_ != nullptr) dlclose(handle_);
  }
  nft_library(const nft_library&) = delete;
  nft_library& operator=(const nft_library&) = delete;

  explicit operator bool() const noexcept { return handle_ != nullptr; }
  template <class Function>
  Function* find(const char* name) const {
    return reinterpret_cast<Function*>(dlsym(handle_, name));
  }

private:
  void* handle_;
};

/// The first line of what nft complains about, "Error: Could not process rule: ...", without its place in the text.
std::string first_line(const char* text) {
  std::string line{text == nullptr ? "" : text};
  line.resize(std::min(line.find('\n'), line.size()));
  auto error = line.find("Error: ");
  return error == line.npos ? line : line.substr(error + 7);
}

outcome<void> run_nft(const std::string& text) {
  nft_library library;
  if (!library) return fail(fault::unsupported, "Cannot load libnftables");
  auto* make = library.find<decltype(nft_ctx_new)>("nft_ctx_new");
  auto* run = library.find<decltype(nft_run_cmd_from_buffer)>("nft_run_cmd_from_buffer");
  auto* release = library.find<decltype(nft_ctx_free)>("nft_ctx_free");
  auto* buffer = library.find<decltype(nft_ctx_buffer_error)>("nft_ctx_buffer_error");
  auto* complaint = library.find<decltype(nft_ctx_get_error_buffer)>("nft_ctx_get_error_buffer");
  if (!make || !run || !release || !buffer || !complaint) return fail(fault::unsupported, "libnftables is too old");

  std::unique_ptr<nft_ctx, decltype(release)> context{make(NFT_CTX_DEFAULT), release};
  if (!context || buffer(context.get()) != 0) return fail(fault::backend_failed, "Cannot start libnftables");
  if (run(context.get(), text.c_str()) == 0) return {};
  return fail(fault::backend_failed, "Cannot apply the firewall: " + first_line(complaint(context.get())));
}

/// What differs between the families in a rule.
struct family_words {
  const char* protocol; // of meta nfproto
  const char* address;  // ip or ip6
  const char* icmp;     // match of the control protocol
  const char* dhcp_port;
};

constexpr family_words words_v4{"ipv4", "ip", "ip protocol icmp", "67"};
constexpr family_words words_v6{"ipv6", "ip6", "meta l4proto ipv6-icmp", "547"};

struct chains {
  std::string input, forward, postrouting;
};

struct family_wish {
  const std::string& bridge;
  const std::string& address;
  bool nat, dhcp, routing, firewall, dns;
};

/// Input accepts what instances need of the host; other chains of the host may still refuse the rest. Forwarding is
/// accepted both ways, or refused both ways where routing is off.
void add_filters(chains& to, const family_words& words, const family_wish& wish) {
  const std::string in = "    iifname \"" + wish.bridge + "\" meta nfproto " + words.protocol + " ";
  const std::string out = "    oifname \"" + wish.bridge + "\" meta nfproto " + words.protocol + " ";
  to.input += in + words.icmp + " accept\n";
  if (wish.dhcp) to.input += in + "udp dport " + words.dhcp_port + " accept\n";
  if (wish.dns) to.input += in + "udp dport 53 accept\n" + in + "tcp dport 53 accept\n";
  const char* verdict = wish.routing ? "accept\n" : "reject\n";
  to.forward += in + verdict + out + verdict;
}

outcome<void> add_family(chains& to, const family_words& words, const family_wish& wish, int family) {
  if (wish.address.empty()) return {};
  auto subnet = parse_cidr(wish.address, family);
  if (!subnet) return fail(fault::invalid, "The bridge's address is malformed");
  if (wish.firewall) add_filters(to, words, wish);
  auto net = cidr_text(network_of(*subnet));
  if (wish.nat)
    to.postrouting += std::string{"    "} + words.address + " saddr " + net + " " + words.address + " daddr != " + net +
                      " masquerade\n";
  return {};
}

std::string chain(const char* name, const char* hook, const std::string& rules) {
  return std::string{"  chain "} + name + " {\n    type " + hook + "; policy accept;\n" + rules + "  }\n";
}

bool is_table_name(const std::string& name) { return is_host_label(name) && !(name[0] >= '0' && name[0] <= '9'); }

std::mutex serial; // also guards `applied`: two transactions of one table must not overtake each other

std::map<std::string, std::string>& applied() {
  static std::map<std::string, std::string> texts;
  return texts;
}

} // namespace

outcome<std::string> firewall_text(const std::string& table, const std::vector<bridge_plan>& bridges) {
  if (!is_table_name(table)) return fail(fault::invalid, "The name of the firewall table is malformed");
  chains rules;
  for (auto& plan : bridges) {
    if (!is_interface_name(plan.name)) return fail(fault::invalid, "The bridge's name is malformed");
    bool dns = plan.dns_mode != "none";
    family_wish v4{plan.name, plan.ipv4, plan.ipv4_nat, plan.ipv4_dhcp, plan.ipv4_routing, plan.ipv4_firewall, dns};
    family_wish v6{plan.name, plan.ipv6, plan.ipv6_nat, plan.ipv6_dhcp, plan.ipv6_routing, plan.ipv6_firewall, dns};
    if (auto ok = add_family(rules, words_v4, v4, AF_INET); !ok) return tl::unexpected{ok.error()};
    if (auto ok = add_family(rules, words_v6, v6, AF_INET6); !ok) return tl::unexpected{ok.error()};
  }
  // Adding first makes the deletion succeed whether or not the table is there.
  std::string out = "add table inet " + table + "\ndelete table inet " + table + "\n";
  if (bridges.empty()) return out;
  return out + "table inet " + table + " {\n" + chain("input", "filter hook input priority filter", rules.input) +
         chain("forward", "filter hook forward priority filter", rules.forward) +
         chain("postrouting", "nat hook postrouting priority srcnat", rules.postrouting) + "}\n";
}

outcome<void> apply_firewall(const std::string& table, const std::vector<bridge_plan>& bridges) {
  auto text = firewall_text(table, bridges);
  if (!text) return tl::unexpected{text.error()};
  std::lock_guard lock{serial};
  auto& last = applied()[table];
  if (last == *text) return {};
  if (auto ok = run_nft(*text); !ok) {
    last.clear(); // nothing was changed, but say so to nobody: the next call tries again
    return ok;
  }
  last = *text;
  return {};
}

} // namespace troupe
